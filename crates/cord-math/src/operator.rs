//! Operators of more than one argument: sums, products and integrals with bounds, determinants, and what counts
//! selections (`\binom` in its other spellings).

use num_traits::{One, Signed, Zero};

use crate::expression::{Expression, Function, Range, Ranged};
use crate::formula::{Cursor, Parsed, parse};
use crate::fuel::OutOfFuel;
use crate::normal::normal;
use crate::rational::{Rational, integer};
use crate::reading::{closes, opens, split};
use crate::token::Token;

/// Larger determinants are left alone: they are expanded along their first row.
const LARGEST_DETERMINANT: usize = 5;

impl<'a> Cursor<'a, '_> {
    /// What stands after `\sum`, `\prod` and `\int`.
    pub(crate) fn ranged(&mut self, range: Range) -> Parsed {
        let (mut lower, mut upper) = (None, None);
        for _ in 0..2 {
            if self.take_char('_') {
                lower = self.script();
            } else if self.take_char('^') {
                upper = self.script();
            }
        }
        let (lower, upper) = (some!(lower), some!(upper));
        let to = some!(self.apart(upper)?);
        if range == Range::Integral {
            let from = some!(self.apart(lower)?);
            return self.integrand(from, to);
        }
        let [name, Token::Char('='), from @ ..] = lower else { return Ok(None) };
        let (name, from) = (some!(variable(name)), some!(self.apart(from)?));
        self.enter()?;
        let body = some!(self.product()?);
        self.depth -= 1;
        Ok(Some(over(range, name, from, to, &body)))
    }

    /// `x^2 \, dx`, `\frac{dx}{x}`.
    fn integrand(&mut self, from: Expression, to: Expression) -> Parsed {
        let rest = self.rest();
        self.fuel.spend(rest.len() as u64)?;
        // The differential stands alone, or above a fraction's line.
        let mut depth = 0usize;
        let mut ends = None;
        for (place, pair) in rest.windows(2).enumerate() {
            if opens(&pair[0]) {
                depth += 1;
            } else if closes(&pair[0]) {
                depth = depth.saturating_sub(1);
            }
            let in_fraction = depth == 1 && rest[0].is_command("frac") && rest.get(place + 2) == Some(&Token::Close);
            if pair[0] == Token::Word("d".to_owned()) && (depth == 0 || in_fraction) && variable(&pair[1]).is_some() {
                ends = Some(place);
                break;
            }
        }
        let end = some!(ends);
        let name = some!(variable(&rest[end + 1]));
        let body = if depth == 0 {
            self.at += end + 2;
            if end == 0 { Some(Expression::Number(integer(1))) } else { self.apart(&rest[..end])? }
        } else {
            let above = if end == 2 { Some(Expression::Number(integer(1))) } else { self.apart(&rest[2..end])? };
            self.at += end + 3;
            Some(Expression::Quotient(Box::new((some!(above), some!(self.argument()?)))))
        };
        Ok(Some(over(Range::Integral, name, from, to, &some!(body))))
    }

    /// The tokens of an index or exponent.
    fn script(&mut self) -> Option<&'a [Token]> {
        let rest = self.rest();
        if rest.first()? != &Token::Open {
            // `_{-1}` keeps its braces; one token stands without.
            self.at += 1;
            return Some(&rest[..1]);
        }
        let mut depth = 0usize;
        let end = rest.iter().position(|token| {
            depth += usize::from(*token == Token::Open);
            depth -= usize::from(*token == Token::Close);
            depth == 0
        })?;
        self.at += end + 1;
        Some(&rest[1..end])
    }

    /// Other tokens as a formula of their own.
    fn apart(&mut self, tokens: &[Token]) -> Parsed {
        self.enter()?;
        let parsed = parse(tokens, self.branch, self.depth, self.fuel)?;
        self.depth -= 1;
        Ok(parsed)
    }

    /// The determinant of the matrix that begins at the cursor.
    pub(crate) fn determinant(&mut self) -> Parsed {
        let rest = self.rest();
        let mut depth = 0usize;
        let end = rest.iter().position(|token| {
            if opens(token) {
                depth += 1;
            } else if closes(token) {
                depth = depth.saturating_sub(1);
            }
            depth == 0
        });
        let end = some!(end);
        let inner = match &rest[..=end] {
            [Token::Char('(' | '['), inner @ .., Token::Char(')' | ']')] => inner,
            whole => whole,
        };
        let rows = some!(self.rows(inner)?);
        self.at += end + 1;
        let width = rows.len();
        if width == 0 || width > LARGEST_DETERMINANT || rows.iter().any(|row| row.len() != width) {
            return Ok(None);
        }
        let rows: Vec<&[Expression]> = rows.iter().map(Vec::as_slice).collect();
        let columns: Vec<usize> = (0..width).collect();
        self.fuel.spend(
            (1..=width as u64).product::<u64>() * rows.iter().copied().flatten().map(Expression::size).sum::<u64>(),
        )?;
        Ok(Some(expanded(&rows, &columns)))
    }

    /// The entries between `\begin{…}` and `\end{…}`.
    fn rows(&mut self, tokens: &[Token]) -> Result<Option<Vec<Vec<Expression>>>, OutOfFuel> {
        let [Token::Command(begin), inner @ .., Token::Command(end)] = tokens else { return Ok(None) };
        let name = begin.strip_prefix("begin ").unwrap_or_default();
        let is_matrix = name.ends_with("matrix") || name == "array";
        if !is_matrix || !end.starts_with("end ") {
            return Ok(None);
        }
        let inner = match inner {
            [Token::Open, rest @ ..] if name == "array" => {
                let end = rest.iter().position(|t| *t == Token::Close).map_or(0, |end| end + 1);
                &rest[end..]
            }
            _ => inner,
        };
        let mut entries = Vec::new();
        for row in split(inner, &|token| token.is_command("\\")) {
            if row.is_empty() {
                continue;
            }
            let mut cells = Vec::new();
            for cell in split(row, &|token| token.is_char('&')) {
                cells.push(some!(self.apart(cell)?));
            }
            entries.push(cells);
        }
        Ok(Some(entries))
    }

    /// `C(10,3)`, `C_{10}^{3}`, `P(5,2)`, `nCr(10,3)`, `\gcd(12,18)`: the letter or name is behind the cursor.
    pub(crate) fn selection(&mut self, name: &str) -> Parsed {
        let (begin, depth) = (self.at, self.depth);
        let found = self.selected(name)?;
        if found.is_none() {
            (self.at, self.depth) = (begin, depth);
        }
        Ok(found)
    }

    fn selected(&mut self, name: &str) -> Parsed {
        let count = match name {
            "C" | "nCr" => chosen,
            "P" | "nPr" => arranged,
            "gcd" | "lcm" | "max" | "min" => return self.folded(name),
            _ => return Ok(None),
        };
        let letter = name.len() == 1;
        if let [
            Token::Char(first @ ('_' | '^')),
            Token::Number(one),
            Token::Char(second @ ('_' | '^')),
            Token::Number(other),
            ..,
        ] = self.rest()
            && first != second
            && letter
        {
            let (n, k) = if *first == '_' { (one, other) } else { (other, one) };
            let (Ok(n), Ok(k)) = (n.parse::<i64>(), k.parse::<i64>()) else { return Ok(None) };
            self.at += 4;
            return Ok((n >= k).then(|| count(Expression::Number(integer(n)), Expression::Number(integer(k)))));
        }
        let arguments = some!(self.arguments()?);
        let Ok([n, k]) = <[Expression; 2]>::try_from(arguments) else { return Ok(None) };
        // `P(1,2)` is a point.
        let counts = match (&n, &k) {
            (Expression::Number(n), Expression::Number(k)) => {
                n.is_integer() && k.is_integer() && n >= k && !k.is_negative()
            }
            (Expression::Variable(n), _) => n == "n" || !letter,
            _ => !letter,
        };
        Ok(counts.then(|| count(n, k)))
    }

    /// `_{10}C_3`, `{}_{10}C_{3}`, `^{10}P_3`: nothing where something else stands here.
    pub(crate) fn scripted(&mut self) -> Parsed {
        let (begin, depth) = (self.at, self.depth);
        if let [Token::Open, Token::Close, ..] = self.rest() {
            self.at += 2;
        }
        let found = self.after_script()?;
        if found.is_none() {
            (self.at, self.depth) = (begin, depth);
        }
        Ok(found)
    }

    fn after_script(&mut self) -> Parsed {
        if !self.take_char('_') && !self.take_char('^') {
            return Ok(None);
        }
        let n = some!(self.script());
        let n = some!(self.apart(n)?);
        let [Token::Word(letter), Token::Char('_'), ..] = self.rest() else { return Ok(None) };
        self.at += 2;
        let k = some!(self.script());
        let k = some!(self.apart(k)?);
        Ok(match letter.as_str() {
            "C" => Some(chosen(n, k)),
            "P" => Some(arranged(n, k)),
            _ => None,
        })
    }

    /// Formulas in round brackets with commas between them.
    fn arguments(&mut self) -> Result<Option<Vec<Expression>>, OutOfFuel> {
        if !self.take_char('(') {
            return Ok(None);
        }
        self.enter()?;
        let mut all = vec![some!(self.sum()?)];
        while let Some(Token::Comma { .. }) = self.peek() {
            self.at += 1;
            all.push(some!(self.sum()?));
        }
        self.depth -= 1;
        Ok(self.take_char(')').then_some(all))
    }

    /// The greatest common divisor, the least common multiple, the largest and the smallest of some numbers.
    fn folded(&mut self, name: &str) -> Parsed {
        let arguments = some!(self.arguments()?);
        let mut numbers = Vec::with_capacity(arguments.len());
        for argument in &arguments {
            numbers.push(some!(some!(normal(argument, self.fuel)?).as_number()));
        }
        let divides = matches!(name, "gcd" | "lcm");
        if divides && numbers.iter().any(|n| !n.is_integer() || n.is_zero() || n.numer().bits() > 256) {
            return Ok(None);
        }
        self.fuel.spend(1000 * numbers.len() as u64)?;
        let join = |a: Rational, b: Rational| match name {
            "max" => a.max(b),
            "min" => a.min(b),
            "gcd" => Rational::from_integer(divisor(a.numer().clone(), b.numer().clone())),
            _ => {
                let common = Rational::from_integer(divisor(a.numer().clone(), b.numer().clone()));
                (a * b / common).abs()
            }
        };
        Ok(numbers.into_iter().reduce(join).map(Expression::Number))
    }
}

fn divisor(mut a: num_bigint::BigInt, mut b: num_bigint::BigInt) -> num_bigint::BigInt {
    while !b.is_zero() {
        let rest = &a % &b;
        a = std::mem::replace(&mut b, rest);
    }
    a.abs()
}

fn chosen(n: Expression, k: Expression) -> Expression {
    Expression::Binomial(Box::new((n, k)))
}

/// `n!/(n-k)!`.
fn arranged(n: Expression, k: Expression) -> Expression {
    let rest = n.clone().minus(k);
    Expression::Quotient(Box::new((
        Expression::call(Function::Factorial, n),
        Expression::call(Function::Factorial, rest),
    )))
}

fn variable(token: &Token) -> Option<String> {
    match token {
        Token::Word(name) if name.chars().count() == 1 => Some(name.clone()),
        Token::Command(name) if crate::formula::GREEK.contains(&name.as_str()) => Some(name.clone()),
        _ => None,
    }
}

fn over(range: Range, variable: String, from: Expression, to: Expression, body: &Expression) -> Expression {
    // `\sum_{i=1}^{n} i`: there `i` is no imaginary unit.
    let body = match variable.as_str() {
        "i" => {
            body.replaced(&|part| (*part == Expression::ImaginaryUnit).then(|| Expression::Variable("i".to_owned())))
        }
        _ => body.clone(),
    };
    Expression::Ranged(range, Box::new(Ranged { variable, from, to, body }))
}

/// Laplace's expansion along the first row.
fn expanded(rows: &[&[Expression]], columns: &[usize]) -> Expression {
    let Some((first, below)) = rows.split_first() else { return Expression::Number(Rational::one()) };
    let terms = columns.iter().enumerate().map(|(place, column)| {
        let others: Vec<usize> = columns.iter().copied().filter(|other| other != column).collect();
        let sign = Expression::Number(integer(if place % 2 == 0 { 1 } else { -1 }));
        Expression::Product(vec![sign, first[*column].clone(), expanded(below, &others)])
    });
    Expression::Sum(terms.collect())
}
