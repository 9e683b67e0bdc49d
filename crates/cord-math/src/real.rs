//! Real numbers of [`PRECISION`] bits, for what has no exact normal form here.
//!
//! A 53-bit float can't tell `e^{\pi\sqrt{163}}` from 262537412640768744, which agree in 30 digits; 320 bits
//! tell apart whatever an answer can spell without being built for it. Nothing here is infinite or NaN: a
//! function gives nothing where it has no value, or one beyond all bounds.

use std::cmp::Ordering;
use std::sync::OnceLock;

use num_bigint::{BigInt, Sign};
use num_traits::{One, Signed, ToPrimitive, Zero};

use crate::rational::Rational;

/// Bits of a mantissa.
pub(crate) const PRECISION: u64 = 320;
/// Bits after the binary point where a series is summed: more than the precision, for the rounding of its
/// terms and for the digits that reducing an argument eats.
const FIXED: u64 = PRECISION + 128;
/// Numbers beyond `2^LARGEST` and below `2^-LARGEST` are refused.
const LARGEST: i64 = 1 << 32;

/// `mantissa · 2^exponent`.
#[derive(Clone, Debug)]
pub(crate) struct Real {
    mantissa: BigInt,
    exponent: i64,
}

impl Real {
    fn new(mantissa: BigInt, exponent: i64) -> Self {
        let excess = mantissa.bits().saturating_sub(PRECISION);
        if excess == 0 {
            return Self { mantissa, exponent };
        }
        // Rounded to nearest: truncation would drift one way over a long sum.
        let half: BigInt = BigInt::one() << (excess - 1);
        Self { mantissa: (mantissa + half) >> excess, exponent: exponent + excess as i64 }
    }

    pub(crate) fn zero() -> Self {
        Self { mantissa: BigInt::zero(), exponent: 0 }
    }

    pub(crate) fn integer(value: i64) -> Self {
        Self { mantissa: BigInt::from(value), exponent: 0 }
    }

    pub(crate) fn rational(value: &Rational) -> Self {
        let (above, below) = (value.numer(), value.denom());
        if below.is_one() {
            return Self::new(above.clone(), 0);
        }
        let shift = PRECISION + 2 + below.bits();
        let shift = shift.saturating_sub(above.bits());
        Self::new((above << shift) / below, -(shift as i64))
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.mantissa.is_zero()
    }

    pub(crate) fn is_negative(&self) -> bool {
        self.mantissa.is_negative()
    }

    /// The exponent of the leading bit, or nothing for zero.
    pub(crate) fn magnitude(&self) -> Option<i64> {
        (!self.is_zero()).then(|| self.exponent + self.mantissa.bits() as i64)
    }

    /// Nothing where the number is beyond all bounds.
    pub(crate) fn bounded(self) -> Option<Self> {
        match self.magnitude() {
            Some(magnitude) if magnitude.abs() > LARGEST => None,
            _ => Some(self),
        }
    }

    pub(crate) fn neg(&self) -> Self {
        Self { mantissa: -&self.mantissa, exponent: self.exponent }
    }

    pub(crate) fn abs(&self) -> Self {
        Self { mantissa: self.mantissa.abs(), exponent: self.exponent }
    }

    pub(crate) fn add(&self, other: &Self) -> Self {
        let (Some(own), Some(others)) = (self.magnitude(), other.magnitude()) else {
            return if self.is_zero() { other.clone() } else { self.clone() };
        };
        // Aligning numbers of very different size would build a huge mantissa only to round it off.
        let apart = PRECISION as i64 + 8;
        if own - others > apart {
            return self.clone();
        }
        if others - own > apart {
            return other.clone();
        }
        let exponent = self.exponent.min(other.exponent);
        let align = |n: &Self| &n.mantissa << (n.exponent - exponent) as u64;
        Self::new(align(self) + align(other), exponent)
    }

    pub(crate) fn sub(&self, other: &Self) -> Self {
        self.add(&other.neg())
    }

    pub(crate) fn mul(&self, other: &Self) -> Self {
        Self::new(&self.mantissa * &other.mantissa, self.exponent.saturating_add(other.exponent))
    }

    pub(crate) fn div(&self, other: &Self) -> Option<Self> {
        if other.is_zero() {
            return None;
        }
        let shift = PRECISION + 2 + other.mantissa.bits();
        let mantissa = (&self.mantissa << shift) / &other.mantissa;
        Self::new(mantissa, self.exponent - other.exponent - shift as i64).bounded()
    }

    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        match self.sub(other).mantissa.sign() {
            Sign::Minus => Ordering::Less,
            Sign::NoSign => Ordering::Equal,
            Sign::Plus => Ordering::Greater,
        }
    }

    /// The nearest integer where the number is within 2^-200 of one.
    pub(crate) fn near_integer(&self) -> Option<BigInt> {
        if self.magnitude().is_some_and(|m| m > 256) {
            return None;
        }
        let fixed = self.fixed()?;
        let half: BigInt = BigInt::one() << (FIXED - 1);
        let nearest: BigInt = (&fixed + half) >> FIXED;
        let off = (fixed - (&nearest << FIXED)).abs();
        (off.bits() <= FIXED - 200).then_some(nearest)
    }

    /// The largest integer not above the number.
    pub(crate) fn floor(&self) -> Option<BigInt> {
        if let Some(integer) = self.near_integer() {
            return Some(integer);
        }
        if self.magnitude().is_some_and(|m| m > 256) {
            return None;
        }
        Some(self.fixed()? >> FIXED)
    }

    /// As a fixed-point number; nothing where it would take too many bits.
    fn fixed(&self) -> Option<BigInt> {
        let shift = self.exponent + FIXED as i64;
        if self.magnitude().is_some_and(|m| m > 512) {
            return None;
        }
        Some(if shift >= 0 { &self.mantissa << shift as u64 } else { &self.mantissa >> (-shift).min(1 << 40) as u64 })
    }

    fn from_fixed(fixed: BigInt) -> Self {
        Self::new(fixed, -(FIXED as i64))
    }

    /// Near enough to start an iteration from.
    fn approximate(&self) -> f64 {
        let excess = self.mantissa.bits().saturating_sub(62);
        let top = (&self.mantissa >> excess).to_i64().unwrap_or(0) as f64;
        let exponent = (self.exponent + excess as i64).clamp(-2000, 2000) as i32;
        // In two steps, since `2^exponent` alone may underflow where the product does not.
        top * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2)
    }

    /// A start for an iteration, exactly represented.
    fn guess(value: f64) -> Self {
        Self::new(BigInt::from((value * 2f64.powi(56)) as i64), -56)
    }

    pub(crate) fn sqrt(&self) -> Option<Self> {
        if self.is_negative() {
            return None;
        }
        let mut shift = 2 * PRECISION + 4 - self.mantissa.bits().min(2 * PRECISION);
        if (self.exponent - shift as i64) % 2 != 0 {
            shift += 1;
        }
        Some(Self::new((&self.mantissa << shift).sqrt(), (self.exponent - shift as i64) / 2))
    }

    pub(crate) fn exp(&self) -> Option<Self> {
        if self.magnitude().is_some_and(|m| m > 33) {
            return None;
        }
        let fixed = self.fixed()?;
        let halvings: BigInt = &fixed / ln_2();
        let rest = fixed - &halvings * ln_2();
        let mut sum: BigInt = BigInt::one() << FIXED;
        let mut term = sum.clone();
        for n in 1u32.. {
            term = ((term * &rest) >> FIXED) / n;
            if term.is_zero() || term == BigInt::from(-1) {
                break;
            }
            sum += &term;
        }
        Self::new(sum, halvings.to_i64()? - FIXED as i64).bounded()
    }

    pub(crate) fn ln(&self) -> Option<Self> {
        if self.is_zero() || self.is_negative() {
            return None;
        }
        // self = fraction · 2^twos, the fraction in [1/2, 1).
        let twos = self.magnitude()?;
        let fraction = Self { mantissa: self.mantissa.clone(), exponent: -(self.mantissa.bits() as i64) };
        let guess = Self::guess(fraction.approximate().ln());
        // fraction = e^guess · (1 + off), and off is near 2^-50, so few terms do.
        let off = fraction.mul(&guess.neg().exp()?).sub(&Self::integer(1));
        let z = off.div(&off.add(&Self::integer(2)))?;
        let correction = odd_series(&z, false);
        let twos = Self::integer(twos).mul(&Self::from_fixed(ln_2().clone()));
        Some(guess.add(&correction.add(&correction)).add(&twos))
    }

    pub(crate) fn sin_cos(&self) -> Option<(Self, Self)> {
        if self.magnitude().is_some_and(|m| m > 100) {
            return None;
        }
        let half_pi: BigInt = pi_fixed() >> 1;
        let fixed = self.fixed()?;
        let quarter: BigInt = &half_pi >> 1;
        let turns = floor_div(&(&fixed + quarter), &half_pi);
        let rest = fixed - &turns * half_pi;
        let square: BigInt = (&rest * &rest) >> FIXED;
        let series = |first: BigInt, mut n: u32| {
            let (mut sum, mut term) = (first.clone(), first);
            loop {
                term = -((term * &square) >> FIXED) / ((n + 1) * (n + 2));
                if term.bits() <= 1 {
                    return Self::from_fixed(sum);
                }
                sum += &term;
                n += 2;
            }
        };
        let (sin, cos) = (series(rest, 1), series(BigInt::one() << FIXED, 0));
        Some(match (turns.bit(1), turns.bit(0)) {
            (false, false) => (sin, cos),
            (false, true) => (cos, sin.neg()),
            (true, false) => (sin.neg(), cos.neg()),
            (true, true) => (cos.neg(), sin),
        })
    }

    pub(crate) fn atan(&self) -> Option<Self> {
        if self.abs().compare(&Self::integer(1)) == Ordering::Greater {
            let rest = Self::integer(1).div(self)?.atan()?;
            let right = Self::pi().div(&Self::integer(2))?;
            return Some(if self.is_negative() { right.neg().sub(&rest) } else { right.sub(&rest) });
        }
        let guess = Self::guess(self.approximate().atan());
        let (sin, cos) = guess.sin_cos()?;
        // The tangent of what is still missing, near 2^-50.
        let off = self.mul(&cos).sub(&sin).div(&cos.add(&self.mul(&sin)))?;
        Some(guess.add(&odd_series(&off, true)))
    }

    pub(crate) fn pi() -> Self {
        Self::from_fixed(pi_fixed().clone())
    }
}

/// `z ± z³/3 + z⁵/5 ± …` for |z| below 2^-40.
fn odd_series(z: &Real, alternate: bool) -> Real {
    let square = z.mul(z);
    let square = if alternate { square.neg() } else { square };
    let (mut sum, mut power) = (z.clone(), z.clone());
    for n in [3, 5, 7, 9, 11] {
        power = power.mul(&square);
        sum = sum.add(&power.div(&Real::integer(n)).unwrap_or_else(Real::zero));
    }
    sum
}

fn floor_div(a: &BigInt, b: &BigInt) -> BigInt {
    let quotient = a / b;
    if (a % b).is_negative() { quotient - 1 } else { quotient }
}

fn ln_2() -> &'static BigInt {
    static VALUE: OnceLock<BigInt> = OnceLock::new();
    // ln 2 = 2 artanh(1/3).
    VALUE.get_or_init(|| 2 * reciprocal_series(3, false))
}

fn pi_fixed() -> &'static BigInt {
    static VALUE: OnceLock<BigInt> = OnceLock::new();
    // Machin: pi = 16 arctan(1/5) - 4 arctan(1/239).
    VALUE.get_or_init(|| 16 * reciprocal_series(5, true) - 4 * reciprocal_series(239, true))
}

/// `1/n ± 1/(3n³) + 1/(5n⁵) ± …` as a fixed-point number.
fn reciprocal_series(n: u32, alternate: bool) -> BigInt {
    // 32 bits more, for the truncation of some hundred terms.
    let mut power: BigInt = (BigInt::one() << (FIXED + 32)) / n;
    let mut sum = BigInt::zero();
    let mut k = 0u32;
    while !power.is_zero() {
        let term = &power / (2 * k + 1);
        sum = if alternate && k % 2 == 1 { sum - term } else { sum + term };
        power /= n * n;
        k += 1;
    }
    sum >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &Real, digits: &str) {
        let (whole, decimals) = digits.split_once('.').unwrap();
        let scaled = value.mul(&Real::new(BigInt::from(10).pow(decimals.len() as u32), 0));
        let expected = Real::new(format!("{whole}{decimals}").parse().unwrap(), 0);
        assert!(scaled.sub(&expected).abs().compare(&Real::integer(1)) == Ordering::Less, "{digits}");
    }

    #[test]
    fn constants_and_functions_have_their_published_digits() {
        let n = Real::integer;
        check(&Real::pi(), "3.14159265358979323846264338327950288419716939937510582097494459230781640628");
        check(&n(1).exp().unwrap(), "2.71828182845904523536028747135266249775724709369995957496696762772407663035");
        check(&n(2).ln().unwrap(), "0.69314718055994530941723212145817656807550013436025525412068000949339362196");
        check(&n(10).ln().unwrap(), "2.30258509299404568401799145468436420760110148862877297603332790096757260967");
        check(&n(2).sqrt().unwrap(), "1.41421356237309504880168872420969807856967187537694807317667973799073247846");
        let (sin, cos) = n(1).sin_cos().unwrap();
        check(&sin, "0.84147098480789650665250232163029899962256306079837106567275170999191040439");
        check(&cos, "0.54030230586813971740093660744297660373231042061792222767009725538110039477");
        check(&n(2).atan().unwrap(), "1.107148717794090503017065460178537040070047645401432646");
    }

    #[test]
    fn functions_undo_each_other() {
        let tiny = |r: &Real| r.magnitude().is_none_or(|m| m < -(PRECISION as i64) + 24);
        for k in 1..200 {
            let x = Real::integer(k * k - 70).div(&Real::integer(37)).unwrap();
            assert!(tiny(&x.exp().unwrap().ln().unwrap().sub(&x)), "{k}");
            let (sin, cos) = x.sin_cos().unwrap();
            assert!(tiny(&sin.mul(&sin).add(&cos.mul(&cos)).sub(&Real::integer(1))), "{k}");
            let root = x.abs().sqrt().unwrap();
            assert!(tiny(&root.mul(&root).div(&x.abs()).unwrap().sub(&Real::integer(1))), "{k}");
            let angle = x.atan().unwrap();
            let (sin, cos) = angle.sin_cos().unwrap();
            assert!(tiny(&sin.div(&cos).unwrap().div(&x).unwrap().sub(&Real::integer(1))), "{k}");
        }
    }
}
