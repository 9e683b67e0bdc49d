//! The spelling of an answer, reduced to tokens.
//!
//! What carries no meaning is gone here: white space, `$`, `\left` and `\right`, font commands, the full
//! stop at the end. What has several spellings has one: `\dfrac` is `\frac`, `\frac12` is `\frac{1}{2}`,
//! `\cdot` is `*`. Digits stay as they were written, so two spellings of one number are different tokens.

use crate::fuel::{Fuel, OutOfFuel};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// Digits with an optional decimal part and exponent, without a sign: `12`, `.5`, `1e3`.
    Number(String),
    /// A command without its backslash; `{` and `}` are the escaped braces of a set.
    Command(String),
    /// Any other character.
    Char(char),
    /// A brace that groups.
    Open,
    /// Its end.
    Close,
    /// A comma; `tight` where nothing stands between it and the next token.
    Comma { tight: bool },
}

impl Token {
    pub(crate) fn is_command(&self, name: &str) -> bool {
        matches!(self, Self::Command(own) if own == name)
    }

    /// Same spelling? A space after a comma is not part of it.
    fn reads_as(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Comma { .. }, Self::Comma { .. })) || self == other
    }
}

/// Do two answers have the same reduced spelling?
pub(crate) fn same_spelling(a: &[Token], b: &[Token]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.reads_as(b))
}

/// The tokens of an answer.
pub(crate) fn tokens(text: &str, fuel: &mut Fuel) -> Result<Vec<Token>, OutOfFuel> {
    // Lexing, reducing and unwrapping each pass once over the text.
    fuel.spend(3 * text.len() as u64)?;
    let mut tokens = unwrap_single(wrap_arguments(&join_marked_thousands(lex(text))));
    while matches!(tokens.last(), Some(Token::Char('.'))) {
        tokens.pop();
    }
    Ok(tokens)
}

/// What the text says before its spellings are united: a token, a mark, or nothing but space.
#[derive(Clone, Debug, PartialEq)]
enum Lexeme {
    Token(Token),
    /// `{,}`, `,\!` or `\,`: between groups of digits these can only group thousands.
    Mark {
        comma: bool,
    },
    Space,
}

fn lex(text: &str) -> Vec<Lexeme> {
    let mut out = Vec::new();
    // For each brace that is open: does its closing brace mean anything?
    let mut braces: Vec<bool> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("{,}") {
            out.push(Lexeme::Mark { comma: true });
            rest = &rest[3..];
            continue;
        }
        if let Some(after) = rest.strip_prefix(",\\!") {
            out.push(Lexeme::Mark { comma: true });
            rest = after;
            continue;
        }
        if first == '\\' {
            let (name, after) = command(&rest[1..]);
            rest = after;
            match reduce(name) {
                Reduced::Token(token) => out.push(Lexeme::Token(token)),
                Reduced::Space => out.push(Lexeme::Space),
                Reduced::Thin => out.push(Lexeme::Mark { comma: false }),
                Reduced::Nothing => {}
                Reduced::Delimiter => rest = rest.trim_start().strip_prefix('.').unwrap_or(rest),
                Reduced::Wrapper => {
                    if let Some(inside) = rest.trim_start().strip_prefix('{') {
                        rest = inside;
                        braces.push(false);
                    }
                }
            }
            continue;
        }
        let number = number_length(rest);
        if number > 0 {
            out.push(Lexeme::Token(Token::Number(rest[..number].to_owned())));
            rest = &rest[number..];
            continue;
        }
        rest = &rest[first.len_utf8()..];
        match first {
            '$' => {}
            '{' => {
                braces.push(true);
                out.push(Lexeme::Token(Token::Open));
            }
            '}' => {
                if braces.pop().unwrap_or(true) {
                    out.push(Lexeme::Token(Token::Close));
                }
            }
            ',' => out.push(Lexeme::Token(Token::Comma { tight: true })),
            '−' | '–' => out.push(Lexeme::Token(Token::Char('-'))),
            '×' | '·' => out.push(Lexeme::Token(Token::Char('*'))),
            '÷' => out.push(Lexeme::Token(Token::Char('/'))),
            'π' => out.push(Lexeme::Token(Token::Command("pi".to_owned()))),
            '~' => out.push(Lexeme::Space),
            space if space.is_whitespace() => out.push(Lexeme::Space),
            other => out.push(Lexeme::Token(Token::Char(other))),
        }
    }
    out
}

/// A command's name (letters, or one other character) and what follows it.
fn command(text: &str) -> (&str, &str) {
    let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let length = if letters > 0 { letters } else { text.chars().next().map_or(0, char::len_utf8) };
    text.split_at(length)
}

enum Reduced {
    Token(Token),
    /// Visible white space.
    Space,
    /// A thin space, which may group thousands.
    Thin,
    /// No meaning at all.
    Nothing,
    /// `\left` and `\right`, whose invisible form is followed by a full stop.
    Delimiter,
    /// A font or box around its argument.
    Wrapper,
}

fn reduce(name: &str) -> Reduced {
    match name {
        "left" | "right" => Reduced::Delimiter,
        "big" | "Big" | "bigg" | "Bigg" | "bigl" | "bigr" | "Bigl" | "Bigr" | "displaystyle" | "textstyle"
        | "limits" | "!" | "$" | "(" | ")" | "[" | "]" | "" => Reduced::Nothing,
        "," => Reduced::Thin,
        ";" | ":" | " " | "quad" | "qquad" | "\n" | "\t" | ">" => Reduced::Space,
        "text" | "textbf" | "textit" | "textrm" | "textnormal" | "mathrm" | "mathbf" | "mathit" | "mathsf" | "mbox"
        | "hbox" | "operatorname" | "boxed" | "fbox" => Reduced::Wrapper,
        "dfrac" | "tfrac" | "cfrac" | "frac" => Reduced::Token(Token::Command("frac".to_owned())),
        "times" | "cdot" | "ast" => Reduced::Token(Token::Char('*')),
        "div" => Reduced::Token(Token::Char('/')),
        "lbrace" => Reduced::Token(Token::Command("{".to_owned())),
        "rbrace" => Reduced::Token(Token::Command("}".to_owned())),
        "%" => Reduced::Token(Token::Char('%')),
        other => Reduced::Token(Token::Command(other.to_owned())),
    }
}

/// The length in bytes of the number at the start of a text, or 0.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from.min(bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(0);
    let mut end = whole;
    if bytes.get(whole) == Some(&b'.') {
        let decimals = digits(whole + 1);
        // `5.` ends a sentence; `.5` is a number.
        end = if decimals > 0 { whole + 1 + decimals } else { whole };
    }
    if end == 0 {
        return 0;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    end
}

fn is_group_of_three(token: &str) -> bool {
    let whole = token.split('.').next().unwrap_or(token);
    whole.len() == 3 && whole.bytes().all(|b| b.is_ascii_digit()) && !token.contains(['e', 'E'])
}

fn is_first_group(token: &str) -> bool {
    (1..=3).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_digit()) && !token.starts_with('0')
}

/// Joins `1{,}234`, `1,\!234` and `1\,234`, drops spaces, and notes which commas are tight.
fn join_marked_thousands(lexemes: Vec<Lexeme>) -> Vec<Token> {
    let mut out: Vec<Token> = Vec::with_capacity(lexemes.len());
    let mut mark: Option<bool> = None;
    // Is the last token a number that may still take a group, and nothing but a mark since?
    let mut open_group = false;
    for lexeme in lexemes {
        match lexeme {
            Lexeme::Space => {
                if let Some(Token::Comma { tight }) = out.last_mut() {
                    *tight = false;
                }
                open_group = false;
            }
            Lexeme::Mark { comma } => {
                if let Some(Token::Comma { tight }) = out.last_mut() {
                    *tight = false;
                }
                if let Some(true) = mark.replace(comma) {
                    out.push(Token::Comma { tight: false });
                    open_group = false;
                }
            }
            Lexeme::Token(token) => {
                let marked = mark.take();
                if marked.is_some()
                    && open_group
                    && let (Some(Token::Number(before)), Token::Number(group)) = (out.last_mut(), &token)
                    && is_group_of_three(group)
                {
                    before.push_str(group);
                    open_group = !group.contains('.');
                    continue;
                }
                if marked == Some(true) {
                    out.push(Token::Comma { tight: false });
                }
                open_group = matches!(&token, Token::Number(digits) if is_first_group(digits));
                out.push(token);
            }
        }
    }
    if mark == Some(true) {
        out.push(Token::Comma { tight: false });
    }
    out
}

/// Puts braces round the arguments of `\frac` and `\sqrt` where TeX would read them without.
fn wrap_arguments(tokens: &[Token]) -> Vec<Token> {
    let mut out = Vec::with_capacity(tokens.len());
    // How many arguments the last command still wants; an opening brace saves what is wanted after it.
    let mut wanted = 0u8;
    let mut saved: Vec<u8> = Vec::new();
    for token in tokens {
        match token {
            Token::Open => {
                saved.push(wanted.saturating_sub(1));
                wanted = 0;
                out.push(Token::Open);
            }
            Token::Close => {
                wanted = saved.pop().unwrap_or(0);
                out.push(Token::Close);
            }
            Token::Command(name) if name == "frac" || name == "sqrt" => {
                wanted = if name == "frac" { 2 } else { 1 };
                out.push(token.clone());
            }
            // TeX takes one digit for each argument.
            Token::Number(digits) if wanted > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                let taken = usize::from(wanted).min(digits.len());
                for digit in digits[..taken].chars() {
                    out.extend([Token::Open, Token::Number(digit.to_string()), Token::Close]);
                }
                wanted -= taken as u8;
                if taken < digits.len() {
                    out.push(Token::Number(digits[taken..].to_owned()));
                }
            }
            // A root's optional index stands before its argument.
            Token::Char('[') if wanted > 0 => {
                wanted = 0;
                out.push(token.clone());
            }
            other if wanted > 0 => {
                out.extend([Token::Open, other.clone(), Token::Close]);
                wanted -= 1;
            }
            other => out.push(other.clone()),
        }
    }
    out
}

/// Takes the braces off a single token (`x^{2}`), except where they delimit an argument.
fn unwrap_single(tokens: Vec<Token>) -> Vec<Token> {
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens {
        out.push(token);
        if let [before @ .., Token::Open, inner, Token::Close] = out.as_slice()
            && !matches!(inner, Token::Open | Token::Close)
            && !matches!(before.last(), Some(Token::Command(_) | Token::Close))
        {
            let inner = inner.clone();
            out.truncate(out.len() - 3);
            out.push(inner);
        }
    }
    out
}

/// The answer with its tight commas read as thousands separators, where every run of them can be.
///
/// `1,234` can be a number or a list of two. White space decides where there is any (`1, 234` is a list);
/// without it both readings stand, and two answers are equal when any reading of one equals any reading of
/// the other. Inside brackets a comma separates (`(3,400)` is a point), unless another one does
/// (`(1,000, 2,000)`).
pub(crate) fn with_thousands(tokens: &[Token]) -> Option<Vec<Token>> {
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut joined = false;
    let mut at = 0;
    while at < tokens.len() {
        let mut end = at + 1;
        if let Token::Number(first) = &tokens[at] {
            let mut digits = first.clone();
            let mut groups = is_first_group(first);
            while let (Some(Token::Comma { tight: true }), Some(Token::Number(group))) =
                (tokens.get(end), tokens.get(end + 1))
            {
                // A decimal part can only end the number.
                groups &= is_group_of_three(group) && !digits.contains('.');
                digits.push_str(group);
                end += 2;
            }
            if groups && end > at + 1 {
                out.push(Token::Number(digits));
                joined = true;
                at = end;
                continue;
            }
        }
        out.extend_from_slice(&tokens[at..end]);
        at = end;
    }
    let separates = |token: &Token| matches!(token, Token::Comma { .. } | Token::Char(';'));
    let encloses = |token: &Token| matches!(token, Token::Char('(' | '[')) || token.is_command("{");
    (joined && (out.iter().any(separates) || !out.iter().any(encloses))).then_some(out)
}
