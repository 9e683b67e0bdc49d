//! From tokens to an expression. What the grammar does not cover is no formula; nothing is an error but the
//! end of the fuel.
//!
//! ```text
//! sum     = sign* product (("+" | "-" | "±" | "∓") product)*
//! product = power (("*" | "/")? power)*            a product without sign binds as tight as one with
//! power   = postfix ("^" exponent)?                -2^2 is -(2^2)
//! postfix = atom ("!" | "°")*
//! joined  = sum (("\choose" | "\over" | "\bmod") sum)?
//! atom    = digits mixed? | letter ("_" index)? | "(" sum ")" | "{" sum "}" | "|" sum "|" | "\frac" group group
//!         | "\sqrt" ("[" sum "]")? group | function ("^" exponent)? argument | …
//! ```

use num_traits::{One, Signed};

use crate::expression::{Expression, Function, Range};
use crate::fuel::{Fuel, OutOfFuel};
use crate::rational::{Rational, integer};
use crate::token::Token;

/// Deeper nesting ends as out of fuel: the parser recurses, and a stack is bounded too.
pub(crate) const MAX_DEPTH: u32 = 48;

/// Which sign `±` stands for; `∓` stands for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Branch {
    Upper,
    Lower,
}

/// `Ok(None)`: what stands here is no formula.
pub(crate) type Parsed = Result<Option<Expression>, OutOfFuel>;

/// Reads all tokens as one formula.
pub(crate) fn parse(tokens: &[Token], branch: Branch, depth: u32, fuel: &mut Fuel) -> Parsed {
    if tokens.is_empty() {
        return Ok(None);
    }
    let mut cursor = Cursor { tokens, at: 0, depth, bars: 0, branch, fuel };
    let parsed = cursor.joined()?;
    Ok(parsed.filter(|_| cursor.at == tokens.len()))
}

pub(crate) struct Cursor<'a, 'f> {
    tokens: &'a [Token],
    pub(crate) at: usize,
    pub(crate) depth: u32,
    /// How many absolute values are open: a `|` after an operand then closes.
    bars: u32,
    pub(crate) branch: Branch,
    pub(crate) fuel: &'f mut Fuel,
}

impl<'a> Cursor<'a, '_> {
    pub(crate) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    pub(crate) fn rest(&self) -> &'a [Token] {
        self.tokens.get(self.at..).unwrap_or_default()
    }

    /// Is the first token a sign?
    pub(crate) fn is_signed(&self) -> bool {
        matches!(self.tokens.first(), Some(Token::Char('-' | '+')))
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn take_char(&mut self, character: char) -> bool {
        self.take(&Token::Char(character))
    }

    pub(crate) fn enter(&mut self) -> Result<(), OutOfFuel> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(self.fuel.refuse()) } else { Ok(()) }
    }

    /// A sign, if one stands here: is it negative?
    fn sign(&mut self) -> Option<bool> {
        let negative = match self.peek()? {
            Token::Char('+') => false,
            Token::Char('-') => true,
            token if token.is_command("pm") => self.branch == Branch::Lower,
            token if token.is_command("mp") => self.branch == Branch::Upper,
            _ => return None,
        };
        self.at += 1;
        Some(negative)
    }

    fn signs(&mut self) -> Result<bool, OutOfFuel> {
        let mut negative = false;
        while let Some(minus) = self.sign() {
            negative ^= minus;
            self.fuel.spend(1)?;
        }
        Ok(negative)
    }

    /// A sum, or what `\choose`, `\over` and `\bmod` join of two.
    fn joined(&mut self) -> Parsed {
        let first = some!(self.sum()?);
        let Some(Token::Command(name)) = self.peek() else { return Ok(Some(first)) };
        if !matches!(name.as_str(), "choose" | "over" | "bmod") {
            return Ok(Some(first));
        }
        self.at += 1;
        let second = some!(self.sum()?);
        Ok(match name.as_str() {
            "choose" => Some(Expression::Binomial(Box::new((first, second)))),
            "over" => Some(Expression::Quotient(Box::new((first, second)))),
            // `7 \bmod 10` names a residue; only a number beyond the modulus is one to reduce.
            _ => match (first, second) {
                (Expression::Number(n), Expression::Number(by))
                    if n.is_integer() && by.is_integer() && by.is_positive() && (n.is_negative() || n >= by) =>
                {
                    Some(Expression::Number(((n % &by) + &by) % by))
                }
                _ => None,
            },
        })
    }

    pub(crate) fn sum(&mut self) -> Parsed {
        let mut terms = Vec::new();
        let mut negative = self.signs()?;
        loop {
            let term = some!(self.product()?);
            terms.push(if negative { term.negated() } else { term });
            match self.sign() {
                Some(minus) => negative = minus ^ self.signs()?,
                None => break,
            }
        }
        Ok(Some(single(terms, Expression::Sum)))
    }

    pub(crate) fn product(&mut self) -> Parsed {
        let (mut above, mut below) = (vec![some!(self.power()?)], Vec::new());
        loop {
            self.fuel.spend(1)?;
            let divides = self.take_char('/');
            if divides || self.take_char('*') {
                let negative = self.signs()?;
                let factor = some!(self.power()?);
                let factor = if negative { factor.negated() } else { factor };
                if divides { &mut below } else { &mut above }.push(factor);
            } else if self.peek().is_some_and(|token| self.begins_factor(token)) {
                above.push(some!(self.power()?));
            } else {
                break;
            }
        }
        let above = single(above, Expression::Product);
        if below.is_empty() {
            return Ok(Some(above));
        }
        Ok(Some(Expression::Quotient(Box::new((above, single(below, Expression::Product))))))
    }

    /// Can a factor without a sign before it begin here? A number can't: `2 3` is no product.
    fn begins_factor(&self, token: &Token) -> bool {
        match token {
            Token::Word(_) | Token::Open | Token::Char('(' | '[') => true,
            Token::Char('|') => self.bars == 0,
            Token::Command(name) => begins_atom(name),
            _ => false,
        }
    }

    fn power(&mut self) -> Parsed {
        let base = some!(self.postfix()?);
        if !self.take_char('^') {
            return Ok(Some(base));
        }
        let exponent = some!(self.exponent()?);
        Ok(Some(Expression::Power(Box::new((base, exponent)))))
    }

    fn exponent(&mut self) -> Parsed {
        self.enter()?;
        let negative = self.signs()?;
        let exponent = some!(self.power()?);
        self.depth -= 1;
        Ok(Some(if negative { exponent.negated() } else { exponent }))
    }

    fn postfix(&mut self) -> Parsed {
        let mut value = some!(self.atom()?);
        for _ in 0..3 {
            if self.take_char('!') {
                // `n!!` is no factorial of a factorial.
                let double = self.take_char('!');
                if double && self.peek() == Some(&Token::Char('!')) {
                    return Ok(None);
                }
                let function = if double { Function::DoubleFactorial } else { Function::Factorial };
                value = Expression::call(function, value);
            } else if self.take(&Token::Command("degree".to_owned())) {
                let degree = Expression::Number(Rational::new(1.into(), 180.into()));
                value = Expression::Product(vec![value, degree, Expression::Pi]);
            } else {
                break;
            }
        }
        Ok(Some(value))
    }

    fn atom(&mut self) -> Parsed {
        self.fuel.spend(1)?;
        let Some(token) = self.tokens.get(self.at) else { return Ok(None) };
        match token {
            Token::Number(_) => self.number(),
            Token::Char('_' | '^') => self.scripted(),
            Token::Open if self.tokens.get(self.at + 1) == Some(&Token::Close) => self.scripted(),
            Token::Open => self.grouped(&Token::Close),
            Token::Char('(') => self.grouped(&Token::Char(')')),
            Token::Char('[') => self.grouped(&Token::Char(']')),
            Token::Char('|') => {
                self.at += 1;
                if begins_matrix(self.peek()) {
                    let found = self.determinant()?;
                    return Ok(found.filter(|_| self.take_char('|')));
                }
                self.bars += 1;
                self.enter()?;
                let inner = some!(self.sum()?);
                self.depth -= 1;
                self.bars -= 1;
                Ok(self.take_char('|').then(|| Expression::call(Function::Abs, inner)))
            }
            Token::Word(word) => {
                self.at += 1;
                match self.selection(word)? {
                    Some(selection) => Ok(Some(selection)),
                    None => Ok(self.word(word)),
                }
            }
            Token::Command(name) => {
                self.at += 1;
                self.command(name)
            }
            _ => Ok(None),
        }
    }

    fn grouped(&mut self, close: &Token) -> Parsed {
        self.at += 1;
        self.enter()?;
        let bars = std::mem::take(&mut self.bars);
        let inner = some!(self.joined()?);
        self.bars = bars;
        self.depth -= 1;
        Ok(self.take(close).then_some(inner))
    }

    /// A group in braces, or the one token that TeX takes without them.
    pub(crate) fn argument(&mut self) -> Parsed {
        match self.peek() {
            Some(Token::Open | Token::Char('(') | Token::Number(_)) => self.atom(),
            Some(Token::Word(_) | Token::Command(_)) => {
                self.enter()?;
                let atom = self.atom()?;
                self.depth -= 1;
                Ok(atom)
            }
            Some(Token::Char('-')) => {
                self.at += 1;
                self.enter()?;
                let atom = self.atom()?.map(Expression::negated);
                self.depth -= 1;
                Ok(atom)
            }
            _ => Ok(None),
        }
    }

    fn word(&mut self, word: &str) -> Option<Expression> {
        let name = match word {
            "e" => return Some(Expression::Euler),
            "i" => return Some(Expression::ImaginaryUnit),
            "DNE" => return None,
            // Points and segments: `AB`.
            _ if word.len() <= 4 && word.bytes().all(|b| b.is_ascii_uppercase()) => word,
            _ if word.chars().count() == 1 => word,
            _ => return None,
        };
        self.variable(name.to_owned())
    }

    /// A variable with its index and primes, if any.
    fn variable(&mut self, mut name: String) -> Option<Expression> {
        if self.take_char('_') {
            name.push('_');
            name += &self.index()?;
        }
        while self.take_char('\'') {
            name.push('\'');
        }
        Some(Expression::Variable(name))
    }

    /// What stands after `_`, as it is written.
    pub(crate) fn index(&mut self) -> Option<String> {
        let mut index = String::new();
        let mut braces = 0;
        loop {
            match self.peek()? {
                Token::Open => braces += 1,
                Token::Close => braces -= 1,
                Token::Number(text) | Token::Word(text) | Token::Command(text) => index += text,
                Token::Char(c) => index.push(*c),
                Token::Comma { .. } => index.push(','),
            }
            self.at += 1;
            if braces <= 0 {
                return Some(index);
            }
        }
    }

    fn command(&mut self, name: &str) -> Parsed {
        let constant = match name {
            "pi" => Some(Expression::Pi),
            "infty" => Some(Expression::Infinity),
            "imath" => Some(Expression::ImaginaryUnit),
            _ => None,
        };
        if constant.is_some() {
            return Ok(constant);
        }
        match name {
            "frac" => {
                let (above, below) = (some!(self.argument()?), some!(self.argument()?));
                Ok(Some(Expression::Quotient(Box::new((above, below)))))
            }
            "binom" => {
                let (n, k) = (some!(self.argument()?), some!(self.argument()?));
                Ok(Some(Expression::Binomial(Box::new((n, k)))))
            }
            "sqrt" | "cbrt" => {
                let index = if name == "cbrt" {
                    Expression::Number(integer(3))
                } else if self.peek() == Some(&Token::Char('[')) {
                    some!(self.grouped(&Token::Char(']'))?)
                } else {
                    Expression::Number(integer(2))
                };
                Ok(Some(Expression::Root(Box::new((index, some!(self.argument()?))))))
            }
            "lfloor" => self.between("rfloor", Function::Floor),
            "lceil" => self.between("rceil", Function::Ceil),
            "log" | "lg" => self.logarithm(),
            "sum" => self.ranged(Range::Sum),
            "prod" => self.ranged(Range::Product),
            "int" => self.ranged(Range::Integral),
            "det" => self.determinant(),
            "begin vmatrix" => {
                self.at -= 1;
                self.determinant()
            }
            "gcd" | "lcm" | "max" | "min" => self.selection(name),
            "cis" => {
                let angle = some!(self.applied()?);
                let part = |function| Expression::call(function, angle.clone());
                let imaginary = Expression::Product(vec![Expression::ImaginaryUnit, part(Function::Sin)]);
                Ok(Some(Expression::Sum(vec![part(Function::Cos), imaginary])))
            }
            "overline" if let Some(conjugate) = self.conjugate()? => Ok(Some(conjugate)),
            "overline" | "angle" | "triangle" => {
                // A segment is named by its ends, with the bar or without.
                let mut label = if name == "overline" { String::new() } else { format!("{name} ") };
                label += &some!(self.index());
                Ok(Some(Expression::Variable(label)))
            }
            _ if GREEK.contains(&name) => Ok(self.variable(name.to_owned())),
            _ => match Function::named(name) {
                Some(function) => self.call(function),
                None => Ok(None),
            },
        }
    }

    /// `\overline{3+4i}`, unlike a segment's name.
    fn conjugate(&mut self) -> Parsed {
        let (begin, depth) = (self.at, self.depth);
        let found = match self.peek() {
            Some(Token::Open) => self.argument()?,
            _ => None,
        };
        let imaginary = |part: &Expression| *part == Expression::ImaginaryUnit;
        let found = found.filter(|found| found.any(&imaginary) && found.is_constant());
        if found.is_none() {
            (self.at, self.depth) = (begin, depth);
        }
        Ok(found.map(|found| found.replaced(&|part| imaginary(part).then(|| Expression::ImaginaryUnit.negated()))))
    }

    fn between(&mut self, close: &str, function: Function) -> Parsed {
        // `grouped` steps over the opening token, which is behind already.
        self.at -= 1;
        let inner = some!(self.grouped(&Token::Command(close.to_owned()))?);
        Ok(Some(Expression::call(function, inner)))
    }

    fn logarithm(&mut self) -> Parsed {
        let base = if self.take_char('_') { some!(self.argument()?) } else { Expression::Number(integer(10)) };
        let power = if self.take_char('^') { Some(some!(self.exponent()?)) } else { None };
        let argument = some!(self.applied()?);
        let value = Expression::Logarithm(Box::new((base, argument)));
        Ok(Some(match power {
            Some(power) => Expression::Power(Box::new((value, power))),
            None => value,
        }))
    }

    fn call(&mut self, function: Function) -> Parsed {
        let mut power = None;
        let mut function = function;
        if self.take_char('^') {
            let exponent = some!(self.exponent()?);
            match function.inverse() {
                Some(inverse) if exponent == Expression::Number(integer(-1)) => function = inverse,
                _ => power = Some(exponent),
            }
        }
        let argument = some!(self.applied()?);
        let value = Expression::call(function, argument);
        Ok(Some(match power {
            Some(power) => Expression::Power(Box::new((value, power))),
            None => value,
        }))
    }

    /// A function's argument: in brackets, or the product of what follows up to a sign, an operator, a bracket or
    /// the next function (`\sin 2x \cos x`).
    fn applied(&mut self) -> Parsed {
        self.enter()?;
        if matches!(self.peek(), Some(Token::Char('(' | '[' | '|') | Token::Open)) {
            let argument = self.postfix()?;
            self.depth -= 1;
            return Ok(argument);
        }
        let negative = self.signs()?;
        let mut factors = vec![some!(self.power()?)];
        while let Some(token) = self.peek() {
            let goes_on = match token {
                Token::Word(word) => word.chars().count() == 1,
                Token::Command(name) => {
                    matches!(name.as_str(), "pi" | "sqrt" | "frac") || GREEK.contains(&name.as_str())
                }
                _ => false,
            };
            if !goes_on {
                break;
            }
            self.fuel.spend(1)?;
            factors.push(some!(self.power()?));
        }
        self.depth -= 1;
        let argument = single(factors, Expression::Product);
        Ok(Some(if negative { argument.negated() } else { argument }))
    }
}

fn single(mut parts: Vec<Expression>, whole: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            whole(parts)
        }
        None => Expression::Number(Rational::one().abs()),
    }
}

fn begins_matrix(token: Option<&Token>) -> bool {
    matches!(token, Some(Token::Command(name)) if name == "begin matrix" || name == "begin array")
}

pub(crate) const GREEK: &[&str] = &[
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa", "lambda", "mu", "nu", "xi", "rho",
    "sigma", "tau", "phi", "chi", "psi", "omega", "ell", "Delta", "Gamma", "Theta", "Lambda", "Sigma", "Phi", "Omega",
];

/// Can an atom begin with this command?
fn begins_atom(name: &str) -> bool {
    matches!(
        name,
        "pi" | "infty"
            | "imath"
            | "frac"
            | "binom"
            | "sqrt"
            | "cbrt"
            | "lfloor"
            | "lceil"
            | "log"
            | "lg"
            | "overline"
            | "angle"
            | "triangle"
            | "sum"
            | "prod"
            | "int"
            | "det"
            | "begin vmatrix"
            | "gcd"
            | "lcm"
            | "max"
            | "min"
            | "cis"
    ) || GREEK.contains(&name)
        || Function::named(name).is_some()
}
