//! Expressions: what a formula says, before anything is computed.

use crate::rational::Rational;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression {
    Number(Rational),
    Variable(String),
    Pi,
    /// Euler's number.
    Euler,
    ImaginaryUnit,
    Infinity,
    Sum(Vec<Expression>),
    Product(Vec<Expression>),
    /// Above and below.
    Quotient(Box<(Expression, Expression)>),
    /// Base and exponent.
    Power(Box<(Expression, Expression)>),
    /// Index and radicand.
    Root(Box<(Expression, Expression)>),
    Call(Function, Box<Expression>),
    /// Base and argument.
    Logarithm(Box<(Expression, Expression)>),
    /// `n` over `k`.
    Binomial(Box<(Expression, Expression)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Sinh,
    Cosh,
    Tanh,
    Ln,
    Exp,
    Abs,
    Floor,
    Ceil,
    Factorial,
}

impl Function {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "sin" => Self::Sin,
            "cos" => Self::Cos,
            "tan" | "tg" => Self::Tan,
            "cot" | "ctg" => Self::Cot,
            "sec" => Self::Sec,
            "csc" => Self::Csc,
            "arcsin" => Self::Arcsin,
            "arccos" => Self::Arccos,
            "arctan" => Self::Arctan,
            "sinh" => Self::Sinh,
            "cosh" => Self::Cosh,
            "tanh" => Self::Tanh,
            "ln" => Self::Ln,
            "exp" => Self::Exp,
            "abs" => Self::Abs,
            "floor" => Self::Floor,
            "ceil" => Self::Ceil,
            _ => return None,
        })
    }

    /// The function that `f^{-1}` means.
    pub(crate) fn inverse(self) -> Option<Self> {
        Some(match self {
            Self::Sin => Self::Arcsin,
            Self::Cos => Self::Arccos,
            Self::Tan => Self::Arctan,
            _ => return None,
        })
    }
}

impl Expression {
    pub(crate) fn negated(self) -> Self {
        match self {
            Self::Number(number) => Self::Number(-number),
            other => Self::Product(vec![Self::Number(crate::rational::integer(-1)), other]),
        }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self::Sum(vec![self, other.negated()])
    }

    pub(crate) fn call(function: Function, argument: Self) -> Self {
        Self::Call(function, Box::new(argument))
    }

    /// The expressions that this one is made of.
    fn parts(&self) -> Vec<&Self> {
        match self {
            Self::Sum(parts) | Self::Product(parts) => parts.iter().collect(),
            Self::Quotient(pair)
            | Self::Power(pair)
            | Self::Root(pair)
            | Self::Logarithm(pair)
            | Self::Binomial(pair) => vec![&pair.0, &pair.1],
            Self::Call(_, argument) => vec![argument],
            _ => Vec::new(),
        }
    }

    /// Does any part answer?
    pub(crate) fn any(&self, answers: &dyn Fn(&Self) -> bool) -> bool {
        answers(self) || self.parts().into_iter().any(|part| part.any(answers))
    }

    /// The names of its variables, sorted, each once.
    pub(crate) fn variables(&self) -> Vec<&str> {
        let mut names = Vec::new();
        let mut open = vec![self];
        while let Some(next) = open.pop() {
            match next {
                Self::Variable(name) => names.push(name.as_str()),
                other => open.extend(other.parts()),
            }
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Without variables?
    pub(crate) fn is_constant(&self) -> bool {
        !self.any(&|part| matches!(part, Self::Variable(_)))
    }

    /// Is it infinite, and on which side?
    pub(crate) fn infinite(&self) -> Option<bool> {
        match self {
            Self::Infinity => Some(true),
            Self::Product(parts) => match parts.as_slice() {
                [Self::Number(sign), Self::Infinity] => Some(num_traits::Signed::is_positive(sign)),
                _ => None,
            },
            _ => None,
        }
    }
}
