//! From tokens to a value. What the grammar does not cover stays text; nothing is an error but the end of
//! the fuel.
//!
//! ```text
//! answer   = item ("," item)*                      a list
//!          | "(" answer ")" | "[" answer "]" | "\{" answer "\}"
//!          | sign* quotient "%"?                   a number
//! quotient = scaled ("/" scaled)?
//! scaled   = power ("*" "10" "^" exponent)?
//! power    = atom ("^" exponent)?                  integer exponents only
//! atom     = digits | "\frac" group group | digits "\frac" group group | digits digits "/" digits
//!          | "{" sign* quotient "}" | "(" sign* quotient ")"
//! ```

use num_bigint::BigInt;
use num_traits::{One, Pow, Signed, ToPrimitive, Zero};

use crate::fuel::{Fuel, OutOfFuel};
use crate::token::Token;
use crate::value::{Brackets, Rational, Value, bits};

/// Deeper nesting ends as out of fuel: the parser recurses, and a stack is bounded too.
const MAX_DEPTH: u32 = 64;

/// The value of an answer.
pub(crate) fn value(tokens: &[Token], fuel: &mut Fuel) -> Result<Value, OutOfFuel> {
    answer(tokens, 0, fuel)
}

fn answer(tokens: &[Token], depth: u32, fuel: &mut Fuel) -> Result<Value, OutOfFuel> {
    if depth > MAX_DEPTH {
        return Err(fuel.refuse());
    }
    fuel.spend(2 * tokens.len() as u64 + 1)?;
    let items = split(tokens);
    if items.len() > 1 {
        return list(&items, Brackets::None, depth, fuel);
    }
    if let Some((enclosure, inner)) = enclosed(tokens) {
        let items = split(inner);
        match enclosure {
            // One item in round brackets is grouped, not listed.
            Enclosure::List(Brackets::Round) if items.len() == 1 => {}
            Enclosure::List(brackets) => return list(&items, brackets, depth, fuel),
            Enclosure::Set if inner.is_empty() => return Ok(Value::Set(Vec::new())),
            Enclosure::Set => {
                let items = items.iter().map(|item| answer(item, depth + 1, fuel));
                return Ok(Value::Set(items.collect::<Result<_, _>>()?));
            }
        }
    }
    let mut cursor = Cursor { tokens, at: 0, depth, fuel };
    if let Some(number) = cursor.signed()? {
        let percent = cursor.take(&Token::Char('%'));
        if cursor.at == tokens.len() {
            return Ok(if percent { Value::Percent(number) } else { Value::Number(number) });
        }
    }
    if let Some((Enclosure::List(Brackets::Round), inner)) = enclosed(tokens) {
        return answer(inner, depth + 1, fuel);
    }
    Ok(Value::Text(tokens.to_vec()))
}

fn list(items: &[&[Token]], brackets: Brackets, depth: u32, fuel: &mut Fuel) -> Result<Value, OutOfFuel> {
    let items = items.iter().map(|item| answer(item, depth + 1, fuel)).collect::<Result<_, _>>()?;
    Ok(Value::List { brackets, items })
}

fn opens(token: &Token) -> bool {
    matches!(token, Token::Open | Token::Char('(' | '[')) || token.is_command("{")
}

fn closes(token: &Token) -> bool {
    matches!(token, Token::Close | Token::Char(')' | ']')) || token.is_command("}")
}

/// Splits at the commas and semicolons that stand outside every bracket.
fn split(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0usize;
    tokens
        .split(|token| {
            if opens(token) {
                depth += 1;
            } else if closes(token) {
                depth = depth.saturating_sub(1);
            }
            depth == 0 && matches!(token, Token::Comma { .. } | Token::Char(';'))
        })
        .collect()
}

enum Enclosure {
    List(Brackets),
    Set,
}

/// What stands inside the brackets that enclose the whole answer, if any do.
fn enclosed(tokens: &[Token]) -> Option<(Enclosure, &[Token])> {
    let [first, inner @ .., last] = tokens else { return None };
    let enclosure = match (first, last) {
        (Token::Char('('), Token::Char(')')) => Enclosure::List(Brackets::Round),
        (Token::Char('['), Token::Char(']')) => Enclosure::List(Brackets::Square),
        (Token::Char('['), Token::Char(')')) => Enclosure::List(Brackets::OpenRight),
        (Token::Char('('), Token::Char(']')) => Enclosure::List(Brackets::OpenLeft),
        (open, close) if open.is_command("{") && close.is_command("}") => Enclosure::Set,
        _ => return None,
    };
    // The first bracket must not close before the last: `(1)(2)` is not enclosed.
    let mut depth = 0usize;
    for token in inner {
        if opens(token) {
            depth += 1;
        } else if closes(token) {
            depth = depth.checked_sub(1)?;
        }
    }
    (depth == 0).then_some((enclosure, inner))
}

struct Cursor<'a, 'f> {
    tokens: &'a [Token],
    at: usize,
    depth: u32,
    fuel: &'f mut Fuel,
}

/// `Ok(None)`: what stands here is not a number of the grammar.
type Parsed = Result<Option<Rational>, OutOfFuel>;

/// Goes on with the number, or stops because there is none.
macro_rules! number {
    ($parsed:expr) => {
        match $parsed? {
            Some(number) => number,
            None => return Ok(None),
        }
    };
}

impl Cursor<'_, '_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn signed(&mut self) -> Parsed {
        let mut negative = false;
        loop {
            if self.take(&Token::Char('-')) {
                negative = !negative;
            } else if !self.take(&Token::Char('+')) {
                break;
            }
            self.fuel.spend(1)?;
        }
        let magnitude = number!(self.quotient());
        Ok(Some(if negative { -magnitude } else { magnitude }))
    }

    fn quotient(&mut self) -> Parsed {
        let above = number!(self.scaled());
        if !self.take(&Token::Char('/')) {
            return Ok(Some(above));
        }
        let below = number!(self.scaled());
        self.divide(&above, &below)
    }

    fn scaled(&mut self) -> Parsed {
        let factor = number!(self.power());
        let ten = Token::Number("10".to_owned());
        match self.tokens.get(self.at..) {
            Some([Token::Char('*'), base, Token::Char('^'), ..]) if *base == ten => {
                self.at += 1;
                let power = number!(self.power());
                self.pay_for(bits(&factor) + bits(&power))?;
                Ok(Some(factor * power))
            }
            _ => Ok(Some(factor)),
        }
    }

    fn power(&mut self) -> Parsed {
        let base = number!(self.atom());
        if !self.take(&Token::Char('^')) {
            return Ok(Some(base));
        }
        let negative = self.take(&Token::Char('-'));
        let exponent = match self.peek() {
            Some(Token::Number(_) | Token::Open) => number!(self.atom()),
            _ => return Ok(None),
        };
        if !exponent.is_integer() {
            return Ok(None);
        }
        let exponent = exponent.to_integer();
        self.raise(&base, &if negative { -exponent } else { exponent })
    }

    fn atom(&mut self) -> Parsed {
        match self.peek() {
            Some(Token::Number(_)) => self.digits_or_mixed(),
            Some(token) if token.is_command("frac") => self.fraction(),
            Some(Token::Open) => self.grouped(&Token::Close),
            Some(Token::Char('(')) => self.grouped(&Token::Char(')')),
            _ => Ok(None),
        }
    }

    fn grouped(&mut self, close: &Token) -> Parsed {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.fuel.refuse());
        }
        let inner = number!(self.signed());
        self.depth -= 1;
        Ok(self.take(close).then_some(inner))
    }

    fn fraction(&mut self) -> Parsed {
        self.at += 1;
        let above = number!(self.argument());
        let below = number!(self.argument());
        self.divide(&above, &below)
    }

    fn argument(&mut self) -> Parsed {
        if self.peek() == Some(&Token::Open) { self.grouped(&Token::Close) } else { Ok(None) }
    }

    fn digits_or_mixed(&mut self) -> Parsed {
        let whole = number!(self.digits());
        if !whole.is_integer() {
            return Ok(Some(whole));
        }
        let part = match self.tokens.get(self.at..) {
            Some([token, ..]) if token.is_command("frac") => number!(self.fraction()),
            Some([Token::Number(_), Token::Char('/'), Token::Number(_), ..]) => {
                let above = number!(self.digits());
                self.at += 1;
                let below = number!(self.digits());
                number!(self.divide(&above, &below))
            }
            _ => return Ok(Some(whole)),
        };
        // `2\frac{3}{1}` is a product if it is anything.
        if part.is_negative() || part >= Rational::one() {
            return Ok(None);
        }
        self.pay_for(bits(&whole) + bits(&part))?;
        Ok(Some(whole + part))
    }

    fn digits(&mut self) -> Parsed {
        let Some(Token::Number(text)) = self.peek() else { return Ok(None) };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{decimals}");
        let (exponent, places) = (exponent.parse::<i64>(), decimals.len() as u64);
        self.at += 1;
        // Four bits for each digit, and the same again for the power of ten below them.
        self.pay_for(4 * (digits.len() as u64 + places))?;
        let Ok(digits) = digits.parse::<BigInt>() else { return Ok(None) };
        let number = Rational::new(digits, BigInt::from(10).pow(places));
        match exponent {
            exponent if number.is_zero() || exponent == Ok(0) => Ok(Some(number)),
            // Too long for an `i64`: no fuel pays for such a power of ten.
            Err(_) => Err(self.fuel.refuse()),
            Ok(exponent) => {
                let power = number!(self.raise(&Rational::from_integer(BigInt::from(10)), &exponent.into()));
                self.pay_for(bits(&number) + bits(&power))?;
                Ok(Some(number * power))
            }
        }
    }

    fn divide(&mut self, above: &Rational, below: &Rational) -> Parsed {
        if below.is_zero() {
            return Ok(None);
        }
        self.pay_for(bits(above) + bits(below))?;
        Ok(Some(above / below))
    }

    fn raise(&mut self, base: &Rational, exponent: &BigInt) -> Parsed {
        if base.is_zero() {
            // `0^0` and `0^{-1}` have no value here.
            return Ok(exponent.is_positive().then(Rational::zero));
        }
        if base.is_one() || (-base).is_one() {
            let odd = exponent.bit(0);
            return Ok(Some(if odd { base.clone() } else { Rational::one() }));
        }
        let Some(size) = exponent.abs().to_u64().and_then(|times| times.checked_mul(bits(base))) else {
            return Err(self.fuel.refuse());
        };
        self.pay_for(size)?;
        let Some(exponent) = exponent.to_i32() else { return Err(self.fuel.refuse()) };
        // In lowest terms the parts stay so under powers; `Ratio`'s own `pow` relies on that as well.
        Ok(Some(Pow::pow(base, exponent)))
    }

    /// Pays for arithmetic on numbers of so many bits together. The greatest common divisor dominates: as
    /// many steps as bits, each over all 64-bit limbs.
    fn pay_for(&mut self, bits: u64) -> Result<(), OutOfFuel> {
        match bits.checked_mul(bits / 64 + 1) {
            Some(units) => self.fuel.spend(units / 8 + 1),
            None => Err(self.fuel.refuse()),
        }
    }
}
