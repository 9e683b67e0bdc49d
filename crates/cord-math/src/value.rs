//! The value of an answer: what its tokens say as mathematics.

use crate::expression::Expression;
use crate::token::Token;
use crate::unit::Unit;

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Quantity(Quantity),
    List {
        brackets: Brackets,
        joint: Joint,
        items: Vec<Value>,
    },
    /// Unordered, each item counted once.
    Set(Vec<Value>),
    /// Row by row, all rows of one length.
    Matrix(Vec<Vec<Expression>>),
    /// `a < b = c`: one more side than comparisons.
    Relation {
        sides: Vec<Value>,
        comparisons: Vec<Comparison>,
    },
    /// `x \in …` and `\{x : …\}`.
    Membership {
        variable: Option<String>,
        of: Box<Value>,
    },
    Union(Vec<Value>),
    Intersection(Vec<Value>),
    Difference(Box<(Value, Value)>),
    Reals,
    Empty,
    /// A piecewise formula: what holds, and where; nothing stands for `otherwise`.
    Cases(Vec<(Value, Option<Value>)>),
    /// `3:5`, `1:2:3`.
    Ratio(Vec<Expression>),
    /// Whatever this crate has no value for.
    Text(Vec<Token>),
}

/// A number or formula with what stands round it.
#[derive(Clone, Debug)]
pub(crate) struct Quantity {
    pub(crate) number: Expression,
    pub(crate) measure: Measure,
    /// Digits after the point, where the number is written as a plain decimal.
    pub(crate) decimals: Option<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Measure {
    None,
    Percent,
    Degrees,
    Unit(Unit),
}

/// What stands round a list. An open interval is not a closed one, but a list without brackets may be
/// meant as any of a tuple's spellings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brackets {
    None,
    Round,
    Square,
    /// `[a, b)`.
    OpenRight,
    /// `(a, b]`.
    OpenLeft,
}

impl Brackets {
    pub(crate) fn agree(self, other: Self) -> bool {
        let is_half_open = |b| matches!(b, Self::OpenLeft | Self::OpenRight);
        self == other || (self == Self::None && !is_half_open(other)) || (other == Self::None && !is_half_open(self))
    }
}

/// What joins the items of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joint {
    Comma,
    And,
    Or,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Approximate,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    pub(crate) fn of(token: &Token) -> Option<Self> {
        Some(match token {
            Token::Char('=') => Self::Equal,
            Token::Char('<') => Self::Less,
            Token::Char('>') => Self::Greater,
            Token::Command(name) => match name.as_str() {
                "le" => Self::LessOrEqual,
                "ge" => Self::GreaterOrEqual,
                "ne" => Self::Unequal,
                "approx" => Self::Approximate,
                _ => return None,
            },
            _ => return None,
        })
    }

    pub(crate) fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }
}

impl Value {
    /// The formula that the value is, where it is nothing more.
    pub(crate) fn formula(&self) -> Option<&Expression> {
        match self {
            Self::Quantity(Quantity { number, measure: Measure::None, .. }) => Some(number),
            _ => None,
        }
    }

    /// The name that the value is: a variable.
    pub(crate) fn name(&self) -> Option<&str> {
        match self.formula()? {
            Expression::Variable(name) => Some(name),
            // `e = 5` and `i = 3` name variables.
            Expression::Euler => Some("e"),
            Expression::ImaginaryUnit => Some("i"),
            _ => None,
        }
    }

    pub(crate) fn number(number: Expression) -> Self {
        Self::Quantity(Quantity { number, measure: Measure::None, decimals: None })
    }
}
