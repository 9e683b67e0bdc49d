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
    Ranged(Range, Box<Ranged>),
}

/// What is made of the values that a formula takes while its variable runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    Sum,
    Product,
    Integral,
}

/// A formula whose variable runs between two bounds and is bound there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ranged {
    pub(crate) variable: String,
    pub(crate) from: Expression,
    pub(crate) to: Expression,
    pub(crate) body: Expression,
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
    /// `n(n-2)(n-4)…`.
    DoubleFactorial,
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
            Self::Ranged(_, ranged) => vec![&ranged.from, &ranged.to, &ranged.body],
            _ => Vec::new(),
        }
    }

    /// Does any part answer?
    pub(crate) fn any(&self, answers: &dyn Fn(&Self) -> bool) -> bool {
        answers(self) || self.parts().into_iter().any(|part| part.any(answers))
    }

    /// The names of its free variables, sorted, each once.
    pub(crate) fn variables(&self) -> Vec<&str> {
        let mut names = Vec::new();
        let mut open = vec![self];
        while let Some(next) = open.pop() {
            match next {
                Self::Variable(name) => names.push(name.as_str()),
                Self::Ranged(_, ranged) => {
                    open.extend([&ranged.from, &ranged.to]);
                    names.extend(ranged.body.variables().into_iter().filter(|name| *name != ranged.variable));
                }
                other => open.extend(other.parts()),
            }
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Without free variables?
    pub(crate) fn is_constant(&self) -> bool {
        !self.any(&|part| matches!(part, Self::Variable(_)))
            || (self.any(&|part| matches!(part, Self::Ranged(..))) && self.variables().is_empty())
    }

    /// How many expressions it is made of.
    pub(crate) fn size(&self) -> u64 {
        1 + self.parts().into_iter().map(Self::size).sum::<u64>()
    }

    /// With another expression wherever `which` answers with one.
    pub(crate) fn replaced(&self, which: &dyn Fn(&Self) -> Option<Self>) -> Self {
        if let Some(other) = which(self) {
            return other;
        }
        let all = |parts: &[Self]| parts.iter().map(|part| part.replaced(which)).collect();
        let pair = |pair: &(Self, Self)| Box::new((pair.0.replaced(which), pair.1.replaced(which)));
        match self {
            Self::Sum(parts) => Self::Sum(all(parts)),
            Self::Product(parts) => Self::Product(all(parts)),
            Self::Quotient(both) => Self::Quotient(pair(both)),
            Self::Power(both) => Self::Power(pair(both)),
            Self::Root(both) => Self::Root(pair(both)),
            Self::Logarithm(both) => Self::Logarithm(pair(both)),
            Self::Binomial(both) => Self::Binomial(pair(both)),
            Self::Call(function, argument) => Self::call(*function, argument.replaced(which)),
            Self::Ranged(range, ranged) => Self::Ranged(
                *range,
                Box::new(Ranged {
                    variable: ranged.variable.clone(),
                    from: ranged.from.replaced(which),
                    to: ranged.to.replaced(which),
                    body: ranged.body.replaced(which),
                }),
            ),
            other => other.clone(),
        }
    }

    /// With `by` in place of a variable. A variable that is bound inside keeps its meaning.
    pub(crate) fn with(&self, name: &str, by: &Self) -> Self {
        self.replaced(&|part| match part {
            Self::Variable(own) if own == name => Some(by.clone()),
            Self::Ranged(range, ranged) if ranged.variable == name => Some(Self::Ranged(
                *range,
                Box::new(Ranged {
                    from: ranged.from.with(name, by),
                    to: ranged.to.with(name, by),
                    ..(**ranged).clone()
                }),
            )),
            _ => None,
        })
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
