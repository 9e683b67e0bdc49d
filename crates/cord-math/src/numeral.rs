//! Numbers inside formulas: mixed numbers, repeating decimals, digits in a base.

use num_bigint::BigInt;
use num_traits::{Pow, ToPrimitive};

use crate::expression::Expression;
use crate::formula::{Cursor, Parsed};
use crate::fuel::{Fuel, OutOfFuel};
use crate::rational::{Rational, decimal};
use crate::token::Token;

impl Cursor<'_, '_> {
    pub(crate) fn number(&mut self) -> Parsed {
        let Some(Token::Number(text)) = self.peek() else { return Ok(None) };
        let text = text.clone();
        self.at += 1;
        if self.take_char('_') {
            let base = some!(self.index());
            return Ok(in_base(&text, &base, self.fuel)?.map(Expression::Number));
        }
        if let Some(repeating) = self.repeating(&text)? {
            return Ok(Some(Expression::Number(repeating)));
        }
        let whole = some!(decimal(&text, self.fuel)?);
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Some(Expression::Number(whole)));
        }
        let part = match self.rest() {
            [
                token,
                Token::Open,
                Token::Number(above),
                Token::Close,
                Token::Open,
                Token::Number(below),
                Token::Close,
                ..,
            ] if token.is_command("frac") => Some((above, below, 7)),
            [Token::Number(above), Token::Char('/'), Token::Number(below), ..] => Some((above, below, 3)),
            _ => None,
        };
        if let Some((above, below, length)) = part
            && let (Ok(above), Ok(below)) = (above.parse::<u32>(), below.parse::<u32>())
            && above < below
        {
            // `2\frac{3}{1}` is a product if it is anything.
            self.at += length;
            return Ok(Some(Expression::Number(whole + Rational::new(above.into(), below.into()))));
        }
        Ok(Some(Expression::Number(whole)))
    }

    /// `0.\overline{3}`, `0.1\overline{6}`, `0.(3)`, `0.\dot{1}4\dot{2}`, `0.333…`.
    fn repeating(&mut self, text: &str) -> Result<Option<Rational>, OutOfFuel> {
        let alone = self.at == 1 || (self.at == 2 && self.is_signed());
        let dotted: String;
        let (whole, fixed, block, length) = match self.rest() {
            [Token::Char('.'), Token::Char('('), Token::Number(block), Token::Char(')'), ..] => {
                (text, "", block.as_str(), 4)
            }
            // `0.1(6)` may be a product, where anything stands beside it.
            [Token::Char('('), Token::Number(block), Token::Char(')')] if alone && text.contains('.') => {
                let (whole, fixed) = text.split_once('.').unwrap_or((text, ""));
                (whole, fixed, block.as_str(), 3)
            }
            [
                Token::Char('.'),
                dot,
                Token::Open,
                Token::Number(first),
                Token::Close,
                Token::Number(middle),
                other,
                Token::Open,
                Token::Number(last),
                Token::Close,
                ..,
            ] if dot.is_command("dot") && other.is_command("dot") => {
                dotted = format!("{first}{middle}{last}");
                (text, "", dotted.as_str(), 10)
            }
            [
                Token::Char('.'),
                dot,
                Token::Open,
                Token::Number(first),
                Token::Close,
                other,
                Token::Open,
                Token::Number(last),
                Token::Close,
                ..,
            ] if dot.is_command("dot") && other.is_command("dot") => {
                dotted = format!("{first}{last}");
                (text, "", dotted.as_str(), 9)
            }
            [Token::Char('.'), bar, Token::Open, Token::Number(block), Token::Close, ..]
                if bar.is_command("overline") || bar.is_command("dot") =>
            {
                (text, "", block.as_str(), 5)
            }
            [bar, Token::Open, Token::Number(block), Token::Close, ..]
                if text.contains('.') && (bar.is_command("overline") || bar.is_command("dot")) =>
            {
                let (whole, fixed) = text.split_once('.').unwrap_or((text, ""));
                (whole, fixed, block.as_str(), 4)
            }
            [dots, ..] if dots.is_command("dots") => {
                let Some((whole, decimals)) = text.split_once('.') else { return Ok(None) };
                let Some(block) = repeated_block(decimals) else { return Ok(None) };
                (whole, &decimals[..decimals.len() - block.len()], block, 1)
            }
            _ => return Ok(None),
        };
        if !block.bytes().all(|b| b.is_ascii_digit()) || fixed.contains('e') || block.is_empty() {
            return Ok(None);
        }
        self.fuel.spend(((fixed.len() + block.len()) as u64).pow(2))?;
        let Ok(digits) = format!("{whole}{fixed}").parse::<BigInt>() else { return Ok(None) };
        let Ok(cycle) = block.parse::<BigInt>() else { return Ok(None) };
        let nines = Pow::pow(BigInt::from(10), block.len() as u64) - 1;
        let scale: BigInt = Pow::pow(BigInt::from(10), fixed.len() as u64);
        let value = (Rational::from_integer(digits) + Rational::new(cycle, nines)) / Rational::from_integer(scale);
        self.at += length;
        Ok(Some(value))
    }
}

/// The block that the decimals end with, repeated: thrice for a single digit, twice for a longer block.
fn repeated_block(decimals: &str) -> Option<&str> {
    let n = decimals.len();
    (1..=n.min(24) / 2).map(|length| &decimals[n - length..]).find(|block| {
        let times = if block.len() == 1 { 3 } else { 2 };
        decimals.ends_with(&block.repeat(times))
    })
}

/// The value of digits in a base: `1011_2`, `2A_{16}`.
pub(crate) fn in_base(digits: &str, base: &str, fuel: &mut Fuel) -> Result<Option<Rational>, OutOfFuel> {
    let named = || crate::words::number(&[base.to_lowercase()]).and_then(|n| n.numer().to_u32());
    let Some(base) = base.parse::<u32>().ok().or_else(named).filter(|base| (2..=36).contains(base)) else {
        return Ok(None);
    };
    fuel.spend((digits.len() as u64).pow(2) / 16 + 1)?;
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Ok(None);
    }
    Ok(BigInt::parse_bytes(digits.as_bytes(), base).map(Rational::from_integer))
}
