//! Multiple choice: a letter, with marks round it and the option's text after it, or not.

use crate::token::Token;

/// A letter that can name an option.
pub(crate) struct Choice<'a> {
    pub(crate) letter: String,
    /// Do brackets, a full stop or the word `option` mark it as a choice?
    pub(crate) marked: bool,
    /// The option's own text.
    pub(crate) rest: &'a [Token],
}

/// The choice that an answer makes, if it can be one: `B`, `(B)`, `B.`, `B) 12`, `option B`.
pub(crate) fn choice(tokens: &[Token]) -> Option<Choice<'_>> {
    let letter = |token: &Token| match token {
        Token::Word(word) if word.len() == 1 && matches!(word.as_bytes()[0], b'A'..=b'J' | b'a'..=b'j') => {
            Some(word.clone())
        }
        _ => None,
    };
    let tokens = match tokens {
        [Token::Word(word), rest @ ..]
            if matches!(word.to_lowercase().as_str(), "option" | "choice" | "answer" | "statement") =>
        {
            rest
        }
        all => all,
    };
    let (found, marked, rest) = match tokens {
        [Token::Char('(' | '['), inner, Token::Char(')' | ']'), rest @ ..] => (letter(inner)?, true, rest),
        [first, Token::Char(')' | '.' | ':'), rest @ ..] => (letter(first)?, true, rest),
        [only] => (letter(only)?, false, &[] as &[Token]),
        _ => return None,
    };
    let stops = usize::from(matches!(rest.first(), Some(Token::Char('.' | ':'))));
    Some(Choice { letter: found, marked, rest: &rest[stops..] })
}

/// The option's own text, where a marked letter stands before it: `12` of `(B) 12`.
pub(crate) fn without_choice(tokens: &[Token]) -> Option<&[Token]> {
    choice(tokens).filter(|choice| choice.marked && !choice.rest.is_empty()).map(|choice| choice.rest)
}
