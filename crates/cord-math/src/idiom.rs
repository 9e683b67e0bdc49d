//! Turns of phrase that stand for signs: `5 out of 36`, `x is at least 3`, `1.5 x 10^6`, `US$5`, `7 R 2`.

use crate::token::Token;

/// (words, what they stand for).
const PHRASES: &[(&[&str], Sign)] = &[
    (&["out", "of"], Sign::Char('/')),
    (&["is", "greater", "than", "or", "equal", "to"], Sign::Command("ge")),
    (&["is", "less", "than", "or", "equal", "to"], Sign::Command("le")),
    (&["is", "at", "least"], Sign::Command("ge")),
    (&["is", "at", "most"], Sign::Command("le")),
    (&["is", "greater", "than"], Sign::Char('>')),
    (&["is", "less", "than"], Sign::Char('<')),
];

#[derive(Clone, Copy)]
enum Sign {
    Char(char),
    Command(&'static str),
}

/// The tokens with such phrases as signs.
pub(crate) fn plain(tokens: Vec<Token>) -> Vec<Token> {
    let named = |word: &str| tokens.iter().any(|token| token.is_word(word));
    let worded = tokens.iter().any(|token| matches!(token, Token::Word(_)));
    if !worded {
        return tokens;
    }
    let tokens = match tokens.as_slice() {
        // `Answer: 5`.
        [label, Token::Char(':'), rest @ ..]
            if (label.is_word("answer") || label.is_word("ans")) && !rest.is_empty() =>
        {
            rest.to_vec()
        }
        [Token::Number(_), mark, Token::Number(_)]
            if ["R", "r", "rem"].iter().any(|name| *mark == Token::Word((*name).to_owned())) =>
        {
            let remainder = Token::Word("remainder".to_owned());
            vec![tokens[0].clone(), remainder, tokens[2].clone()]
        }
        // `1 in 6` is a chance; `6 in` are inches.
        [Token::Number(_), word, Token::Number(_)] if word.is_word("in") => {
            vec![tokens[0].clone(), Token::Char('/'), tokens[2].clone()]
        }
        _ => {
            if !["out", "is", "x", "US", "USD"].into_iter().any(named) {
                return tokens;
            }
            tokens
        }
    };
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let phrase = PHRASES.iter().find(|(words, _)| {
            tokens.len() - at > words.len()
                && at > 0
                && words.iter().zip(&tokens[at..]).all(|(word, token)| token.is_word(word))
        });
        if let Some((words, sign)) = phrase {
            out.push(match sign {
                Sign::Char(c) => Token::Char(*c),
                Sign::Command(name) => Token::Command((*name).to_owned()),
            });
            at += words.len();
            continue;
        }
        match &tokens[at..] {
            [Token::Word(word), next, ..] if matches!(word.as_str(), "US" | "USD") && next.is_command("dollar") => {}
            // `1.5x10^6`.
            [Token::Word(word), Token::Number(ten), Token::Char('^'), ..]
                if word == "x" && ten == "10" && matches!(out.last(), Some(Token::Number(_))) =>
            {
                out.push(Token::Char('*'));
            }
            [token, ..] => out.push(token.clone()),
            [] => {}
        }
        at += 1;
    }
    out
}
