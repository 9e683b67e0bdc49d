//! Complex numbers over [`Real`], with principal values.

use crate::real::Real;

#[derive(Clone, Debug)]
pub(crate) struct Complex {
    pub(crate) re: Real,
    pub(crate) im: Real,
}

impl Complex {
    pub(crate) fn real(re: Real) -> Self {
        Self { re, im: Real::zero() }
    }

    pub(crate) fn integer(value: i64) -> Self {
        Self::real(Real::integer(value))
    }

    pub(crate) fn i() -> Self {
        Self { re: Real::zero(), im: Real::integer(1) }
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.re.is_zero() && self.im.is_zero()
    }

    /// Is the imaginary part nothing but rounding?
    pub(crate) fn is_real(&self) -> bool {
        match (self.im.magnitude(), self.re.magnitude()) {
            (None, _) => true,
            (Some(im), re) => im < re.unwrap_or(0).max(0) - 200,
        }
    }

    pub(crate) fn neg(&self) -> Self {
        Self { re: self.re.neg(), im: self.im.neg() }
    }

    pub(crate) fn add(&self, other: &Self) -> Self {
        Self { re: self.re.add(&other.re), im: self.im.add(&other.im) }
    }

    pub(crate) fn sub(&self, other: &Self) -> Self {
        self.add(&other.neg())
    }

    pub(crate) fn mul(&self, other: &Self) -> Self {
        if self.im.is_zero() && other.im.is_zero() {
            return Self::real(self.re.mul(&other.re));
        }
        Self {
            re: self.re.mul(&other.re).sub(&self.im.mul(&other.im)),
            im: self.re.mul(&other.im).add(&self.im.mul(&other.re)),
        }
    }

    pub(crate) fn div(&self, other: &Self) -> Option<Self> {
        if other.im.is_zero() {
            return Some(Self { re: self.re.div(&other.re)?, im: self.im.div(&other.re)? });
        }
        let norm = other.re.mul(&other.re).add(&other.im.mul(&other.im));
        let above = self.mul(&Self { re: other.re.clone(), im: other.im.neg() });
        Some(Self { re: above.re.div(&norm)?, im: above.im.div(&norm)? })
    }

    pub(crate) fn abs(&self) -> Option<Real> {
        if self.im.is_zero() {
            return Some(self.re.abs());
        }
        self.re.mul(&self.re).add(&self.im.mul(&self.im)).sqrt()
    }

    fn argument(&self) -> Option<Real> {
        if self.im.is_zero() {
            return Some(if self.re.is_negative() { Real::pi() } else { Real::zero() });
        }
        let right = Real::pi().div(&Real::integer(2))?;
        if self.re.is_zero() {
            return Some(if self.im.is_negative() { right.neg() } else { right });
        }
        let angle = self.im.div(&self.re)?.atan()?;
        Some(match (self.re.is_negative(), self.im.is_negative()) {
            (false, _) => angle,
            (true, false) => angle.add(&Real::pi()),
            (true, true) => angle.sub(&Real::pi()),
        })
    }

    pub(crate) fn exp(&self) -> Option<Self> {
        let size = self.re.exp()?;
        if self.im.is_zero() {
            return Some(Self::real(size));
        }
        let (sin, cos) = self.im.sin_cos()?;
        Some(Self { re: size.mul(&cos), im: size.mul(&sin) })
    }

    pub(crate) fn ln(&self) -> Option<Self> {
        Some(Self { re: self.abs()?.ln()?, im: self.argument()? })
    }

    pub(crate) fn sqrt(&self) -> Option<Self> {
        if self.im.is_zero() {
            let root = self.re.abs().sqrt()?;
            return Some(if self.re.is_negative() { Self { re: Real::zero(), im: root } } else { Self::real(root) });
        }
        let half = Self::integer(1).div(&Self::integer(2))?;
        self.ln()?.mul(&half).exp()
    }

    /// By repeated squaring, for exponents up to a million; `0^0` and `0^{-n}` have no value.
    pub(crate) fn integer_power(&self, exponent: i64) -> Option<Self> {
        if self.is_zero() {
            return (exponent > 0).then(|| self.clone());
        }
        let mut left = exponent.unsigned_abs();
        if left > 1 << 20 {
            return self.power(&Self::integer(exponent));
        }
        let (mut result, mut square) = (Self::integer(1), self.clone());
        while left > 0 {
            if left & 1 == 1 {
                result = result.mul(&square);
            }
            left >>= 1;
            if left > 0 {
                square = square.mul(&square);
            }
        }
        let result = if exponent < 0 { Self::integer(1).div(&result)? } else { result };
        Some(Self { re: result.re.bounded()?, im: result.im.bounded()? })
    }

    pub(crate) fn power(&self, exponent: &Self) -> Option<Self> {
        if self.is_zero() {
            return (exponent.is_real() && !exponent.re.is_zero() && !exponent.re.is_negative()).then(|| self.clone());
        }
        self.ln()?.mul(exponent).exp()
    }

    pub(crate) fn sin_cos(&self) -> Option<(Self, Self)> {
        let (sin, cos) = self.re.sin_cos()?;
        if self.im.is_zero() {
            return Some((Self::real(sin), Self::real(cos)));
        }
        let (sinh, cosh) = Self::real(self.im.clone()).sinh_cosh()?;
        Some((
            Self { re: sin.mul(&cosh.re), im: cos.mul(&sinh.re) },
            Self { re: cos.mul(&cosh.re), im: sin.mul(&sinh.re).neg() },
        ))
    }

    pub(crate) fn sinh_cosh(&self) -> Option<(Self, Self)> {
        let (up, down) = (self.exp()?, self.neg().exp()?);
        let two = Self::integer(2);
        Some((up.sub(&down).div(&two)?, up.add(&down).div(&two)?))
    }

    pub(crate) fn asin(&self) -> Option<Self> {
        // -i ln(iz + √(1 - z²))
        let root = Self::integer(1).sub(&self.mul(self)).sqrt()?;
        Some(Self::i().neg().mul(&Self::i().mul(self).add(&root).ln()?))
    }

    pub(crate) fn acos(&self) -> Option<Self> {
        Some(Self::real(Real::pi().div(&Real::integer(2))?).sub(&self.asin()?))
    }

    pub(crate) fn atan(&self) -> Option<Self> {
        if self.im.is_zero() {
            return Some(Self::real(self.re.atan()?));
        }
        let (i, one) = (Self::i(), Self::integer(1));
        let turned = i.mul(self);
        let difference = one.sub(&turned).ln()?.sub(&one.add(&turned).ln()?);
        i.mul(&difference).div(&Self::integer(2))
    }
}
