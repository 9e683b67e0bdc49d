//! The spelling of an answer, reduced to tokens.
//!
//! What carries no meaning is gone here: white space, `$` as a delimiter, `\left` and `\right`, font commands, the
//! full stop at the end. What has several spellings has one: `\dfrac` is `\frac`, `\frac12` is `\frac{1}{2}`,
//! `\cdot` is `*`, `√2` is `\sqrt{2}`. Digits stay as they were written, so two spellings of one number are
//! different tokens.

use std::borrow::Cow;

use crate::fuel::{Fuel, OutOfFuel};
use crate::spelling::{Reduced, is_word, named, raised, reduce, symbol};
use crate::unit;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// Digits with an optional decimal part and exponent, without a sign: `12`, `.5`, `1e3`.
    Number(String),
    /// A letter, or the letters of a word.
    Word(String),
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

    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Word(own) if own.eq_ignore_ascii_case(word))
    }

    pub(crate) fn is_char(&self, character: char) -> bool {
        *self == Self::Char(character)
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
    fuel.spend(4 * text.len() as u64)?;
    let text = crate::language::western_digits(text);
    let spaced = spaced_thousands(text.trim());
    let mut text = &*spaced;
    // Markdown's emphasis; a `**` on one side only is a power.
    while let Some(inner) = text.strip_prefix("**").and_then(|t| t.strip_suffix("**")) {
        text = inner.trim();
    }
    let mut tokens = degrees(unwrap_single(wrap_arguments(&join_marked_thousands(lex(text)))));
    let quoted = matches!(tokens.first(), Some(Token::Char('\'' | '`')));
    loop {
        let ends = match tokens.as_slice() {
            // The derivative `y'` is another variable than `y`; the foot of `6'` and a closing quote are not.
            [.., Token::Word(letter), Token::Char('\'')] => quoted || letter.chars().count() > 1,
            [.., Token::Char('.' | ':' | ';' | '"' | '\'' | '`') | Token::Comma { .. }] => true,
            [.., last] => last.is_command("\\"),
            [] => false,
        };
        if !ends {
            break;
        }
        tokens.pop();
    }
    let opens =
        |token: &Token| matches!(token, Token::Char('=' | ':' | '"' | '\'' | '`')) || token.is_command("approx");
    let mut skip = tokens.iter().take_while(|token| opens(token)).count();
    if let [Token::Word(word), Token::Number(_) | Token::Char('-') | Token::Command(_), ..] = &tokens[skip..] {
        skip += usize::from(matches!(word.to_lowercase().as_str(), "approximately" | "about" | "roughly"));
    }
    tokens.drain(..skip);
    outward_brackets(&mut tokens);
    angle_brackets(&mut tokens);
    Ok(crate::idiom::plain(tokens))
}

/// `1 234 567` and `1'234'567`, whose groups of three nothing else could mean, without what groups them.
fn spaced_thousands(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let part = |at: usize| digit(at) || matches!(bytes.get(at), Some(b'.' | b',' | b'/' | b'_' | b'{' | b'^' | b'\\'));
    let mut out = String::new();
    let (mut kept, mut at) = (0, 0);
    while at < bytes.len() {
        if !digit(at) {
            at += 1;
            continue;
        }
        let begin = at;
        while digit(at) {
            at += 1;
        }
        let first = at - begin;
        let alone = begin == 0 || !matches!(bytes[begin - 1], b'.' | b',' | b'/' | b'_' | b'^' | b'{');
        let mut end = at;
        let mark = bytes.get(at).copied().filter(|mark| matches!(mark, b' ' | b'\''));
        while mark.is_some()
            && bytes.get(end).copied() == mark
            && (1..=3).all(|step| digit(end + step))
            && !digit(end + 4)
        {
            end += 4;
        }
        let groups = end > at && first <= 3 && alone && bytes[begin] != b'0';
        // `1 234/567` is a mixed number, and `12 345, 678` a list as much as anything.
        if groups && !part(end) && !(bytes.get(end) == Some(&b' ') && part(end + 1)) {
            out += &text[kept..at];
            out.extend(text[at..end].chars().filter(char::is_ascii_digit));
            kept = end;
        }
        at = end;
    }
    if kept == 0 { Cow::Borrowed(text) } else { Cow::Owned(out + &text[kept..]) }
}

/// `<1, 2>` is a vector.
fn angle_brackets(tokens: &mut [Token]) {
    let [first, inner @ .., last] = tokens else { return };
    let compares = |token: &Token| crate::value::Comparison::of(token).is_some();
    let lists = inner.iter().any(|token| matches!(token, Token::Comma { .. }));
    if first.is_char('<') && last.is_char('>') && lists && !inner.iter().any(compares) {
        *first = Token::Char('⟨');
        *last = Token::Char('⟩');
    }
}

/// `]1,2[` is the open interval `(1,2)` in much of Europe.
fn outward_brackets(tokens: &mut [Token]) {
    let [first, inner @ .., last] = tokens else { return };
    let (left, right) = (first.is_char(']'), last.is_char('['));
    let bracket = |token: &Token| matches!(token, Token::Char('(' | ')' | '[' | ']'));
    let separators = inner.iter().filter(|token| matches!(token, Token::Comma { .. } | Token::Char(';'))).count();
    let plain = !inner.iter().any(bracket) && separators == 1;
    if plain && (left || first.is_char('[')) && (right || last.is_char(']')) && (left || right) {
        if left {
            *first = Token::Char('(');
        }
        if right {
            *last = Token::Char(')');
        }
    }
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

/// An open brace.
#[derive(Clone, Copy, PartialEq)]
enum Brace {
    Group,
    /// Of a font command: it means nothing.
    Font,
    /// Of `\text` and the like: letters inside are words.
    Text,
}

fn lex(text: &str) -> Vec<Lexeme> {
    let mut out = Vec::new();
    let mut braces: Vec<Brace> = Vec::new();
    let mut texts = 0usize;
    // A lone `$` is a currency, a pair of them delimits.
    let currency = text.bytes().filter(|b| *b == b'$').count() - text.matches("\\$").count() == 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("{,}").or_else(|| rest.strip_prefix(",\\!")) {
            out.push(Lexeme::Mark { comma: true });
            rest = after;
            continue;
        }
        if first == '\\' {
            let (name, after) = glued(command(&rest[1..]), &rest[1..]);
            rest = after;
            match reduce(name) {
                Reduced::Token(token) => out.push(Lexeme::Token(token)),
                Reduced::Space => out.push(Lexeme::Space),
                Reduced::Thin => out.push(Lexeme::Mark { comma: false }),
                Reduced::Nothing => {}
                Reduced::Delimiter => rest = rest.trim_start().strip_prefix('.').unwrap_or(rest),
                Reduced::Font | Reduced::Text => {
                    if let Some(inside) = rest.trim_start().strip_prefix('{') {
                        rest = inside;
                        let is_text = matches!(reduce(name), Reduced::Text);
                        texts += usize::from(is_text);
                        braces.push(if is_text { Brace::Text } else { Brace::Font });
                        if is_text {
                            out.push(Lexeme::Space);
                        }
                    }
                }
                Reduced::Named => {
                    // `\begin{pmatrix}`, `\mathbb{R}`: the argument belongs to the name.
                    let (argument, after) = named_argument(rest);
                    rest = after;
                    out.push(Lexeme::Token(Token::Command(format!("{name} {argument}"))));
                }
                Reduced::Measure => rest = named_argument(rest).1,
            }
            continue;
        }
        let number = number_length(rest);
        if number > 0 {
            out.push(Lexeme::Token(Token::Number(rest[..number].to_owned())));
            rest = &rest[number..];
            continue;
        }
        if first.is_alphabetic() && symbol(first).is_none() {
            let letters = rest.find(|c: char| !c.is_alphabetic() || symbol(c).is_some()).unwrap_or(rest.len());
            push_letters(&rest[..letters], texts > 0, &mut out);
            rest = &rest[letters..];
            continue;
        }
        if let Some(sign) = raised(first) {
            let end = rest.find(|c: char| raised(c).is_none()).unwrap_or(rest.len());
            let digits: String = rest[..end].chars().filter_map(raised).filter(char::is_ascii_digit).collect();
            let mut power = vec![Token::Char('^'), Token::Open];
            power.extend((sign == '-').then_some(Token::Char('-')));
            power.extend([Token::Number(digits), Token::Close]);
            out.extend(power.into_iter().map(Lexeme::Token));
            rest = &rest[end..];
            continue;
        }
        rest = &rest[first.len_utf8()..];
        match first {
            '.' if rest.starts_with("..") => {
                rest = &rest[2..];
                out.push(Lexeme::Token(Token::Command("dots".to_owned())));
            }
            '$' if currency => out.push(Lexeme::Token(Token::Command("dollar".to_owned()))),
            '$' => {}
            '{' => {
                braces.push(Brace::Group);
                out.push(Lexeme::Token(Token::Open));
            }
            '}' => match braces.pop() {
                None | Some(Brace::Group) => out.push(Lexeme::Token(Token::Close)),
                Some(Brace::Font) => {}
                Some(Brace::Text) => {
                    texts -= 1;
                    out.push(Lexeme::Space);
                }
            },
            '*' if rest.starts_with('*') => {
                rest = &rest[1..];
                out.push(Lexeme::Token(Token::Char('^')));
            }
            '<' | '>' | '!' if rest.starts_with('=') => {
                rest = &rest[1..];
                let name = if first == '<' {
                    "le"
                } else if first == '>' {
                    "ge"
                } else {
                    "ne"
                };
                out.push(Lexeme::Token(Token::Command(name.to_owned())));
            }
            ',' => out.push(Lexeme::Token(Token::Comma { tight: true })),
            '~' => out.push(Lexeme::Space),
            space if space.is_whitespace() => out.push(Lexeme::Space),
            // `√25` takes the number whole, unlike `\sqrt25`.
            '√' | '∛' if number_length(rest.trim_start()) > 0 => {
                rest = rest.trim_start();
                let (number, after) = rest.split_at(number_length(rest));
                rest = after;
                out.extend(symbol(first).into_iter().flatten().map(Lexeme::Token));
                let group = [Token::Open, Token::Number(number.to_owned()), Token::Close];
                out.extend(group.map(Lexeme::Token));
            }
            other => match symbol(other) {
                Some(tokens) => out.extend(tokens.into_iter().map(Lexeme::Token)),
                None => out.push(Lexeme::Token(Token::Char(other))),
            },
        }
    }
    out
}

/// Letters side by side are a word, or variables multiplied.
fn push_letters(letters: &str, is_text: bool, out: &mut Vec<Lexeme>) {
    if let Some(name) = named(letters) {
        out.push(Lexeme::Token(Token::Command(name.to_owned())));
    } else if let Some(unit) = unit::letter(letters).filter(|_| is_text && follows_operand(out)) {
        out.push(Lexeme::Token(Token::Word(unit.to_owned())));
    } else if is_text || is_word(letters) {
        out.push(Lexeme::Token(Token::Word(letters.to_owned())));
    } else {
        out.extend(letters.chars().map(|letter| Lexeme::Token(Token::Word(letter.to_string()))));
    }
}

/// Does a number or a closing bracket stand before? `5 \text{ m}` has a unit, `\text{m}` alone is a letter.
fn follows_operand(out: &[Lexeme]) -> bool {
    let before = out.iter().rev().find(|lexeme| matches!(lexeme, Lexeme::Token(_)));
    matches!(before, Some(Lexeme::Token(Token::Number(_) | Token::Close | Token::Char(')' | '/') | Token::Command(_))))
}

/// A command's name (letters, or one other character) and what follows it.
fn command(text: &str) -> (&str, &str) {
    let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let length = if letters > 0 { letters } else { text.chars().next().map_or(0, char::len_utf8) };
    text.split_at(length)
}

/// `\cotx` is no command: a function's name with the variable grown on to it is taken apart.
fn glued<'a>((name, after): (&'a str, &'a str), text: &'a str) -> (&'a str, &'a str) {
    const NAMES: [&str; 12] =
        ["arcsin", "arccos", "arctan", "sin", "cos", "tan", "cot", "sec", "csc", "ln", "log", "pi"];
    let Some(function) =
        NAMES.iter().find(|function| name.strip_prefix(**function).is_some_and(|rest| rest.len() == 1))
    else {
        return (name, after);
    };
    // `\sinh` is a function of its own.
    if name.ends_with('h') { (name, after) } else { text.split_at(function.len()) }
}

/// The text of a short argument in braces, or a single letter.
fn named_argument(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    if let Some(inside) = text.strip_prefix('{') {
        let end = inside.bytes().take(24).position(|b| b == b'}');
        return end.map_or(("", text), |end| (inside[..end].trim(), &inside[end + 1..]));
    }
    let length = text.chars().next().filter(char::is_ascii_alphabetic).map_or(0, char::len_utf8);
    text.split_at(length)
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

/// Joins `1{,}234`, `1,\!234`, `1\,234` and `1 234 567`, drops spaces, and notes which commas are tight.
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
                // `11,\! 111` is grouped all the same.
                open_group &= mark == Some(true);
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

/// Puts braces round the arguments of `\frac`, `\binom` and `\sqrt` where TeX would read them without.
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
            // The inner `\frac` of `\frac\frac12 3` takes its own arguments: what the outer wants is lost, and the
            // parser, which reads arguments by itself, goes on without braces.
            Token::Command(name) if matches!(name.as_str(), "frac" | "binom" | "sqrt") => {
                wanted = if name == "sqrt" { 1 } else { 2 };
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
            // A root's optional index stands before its argument, and `\sqrt(2)` means what it does elsewhere.
            Token::Char('[' | '(') if wanted > 0 => {
                wanted = 0;
                out.push(token.clone());
            }
            Token::Char('-' | '+') if wanted > 0 => out.push(token.clone()),
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

/// `^\circ` is the degree sign, and `_{…}` and `'` stay for the parser.
fn degrees(tokens: Vec<Token>) -> Vec<Token> {
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens {
        if token.is_command("circ") && matches!(out.last(), Some(Token::Char('^'))) {
            out.pop();
            out.push(Token::Command("degree".to_owned()));
        } else {
            out.push(token);
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
