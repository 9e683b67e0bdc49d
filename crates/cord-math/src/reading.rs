//! From tokens to a value. What the grammar does not cover stays text; nothing is an error but the end of the
//! fuel.

use crate::expression::Expression;
use crate::formula::{Branch, MAX_DEPTH, parse};
use crate::fuel::{Fuel, OutOfFuel};
use crate::quantity::{compound, quantity, worded};
use crate::token::Token;
use crate::value::{Brackets, Comparison, Joint, Value};
use crate::words;

/// The value of an answer.
pub(crate) fn read(tokens: &[Token], depth: u32, fuel: &mut Fuel) -> Result<Value, OutOfFuel> {
    if depth > MAX_DEPTH {
        return Err(fuel.refuse());
    }
    fuel.spend(4 * tokens.len() as u64 + 1)?;
    // `one hundred and five` is no list.
    if let Some(words) = words::all_words(tokens)
        && let Some(quantity) = worded(&words, fuel)?
    {
        return Ok(Value::Quantity(quantity));
    }
    if let Some(sum) = compound(tokens, fuel)? {
        return Ok(Value::Quantity(sum));
    }
    if let Some((joint, items)) = split_list(tokens) {
        return list(&items, Brackets::None, joint, depth, fuel);
    }
    let text = || Value::Text(tokens.to_vec());
    if let Some(relation) = relation(tokens, depth, fuel)? {
        return Ok(relation);
    }
    if let Some(region) = region(tokens, depth, fuel)? {
        return Ok(region);
    }
    if let [all, real, numbers, except, rest @ ..] = tokens
        && all.is_word("all")
        && (real.is_word("real") || real.is_word("reals"))
        && numbers.is_word("numbers")
        && except.is_word("except")
    {
        let without = flat(rest, depth, fuel)?;
        return Ok(Value::Difference(Box::new((Value::Reals, Value::Set(without)))));
    }
    match tokens {
        [token] if token.is_command("emptyset") => return Ok(Value::Empty),
        [token] if token.is_command("mathbb R") || token.is_command("Bbb R") => return Ok(Value::Reals),
        _ => {}
    }
    if let Some((enclosure, inner)) = enclosed(tokens) {
        match enclosure {
            Enclosure::Set if inner.is_empty() => return Ok(Value::Empty),
            Enclosure::Set => {
                if let Some(member) = set_builder(inner, depth, fuel)? {
                    return Ok(member);
                }
                return Ok(Value::Set(flat(inner, depth, fuel)?));
            }
            Enclosure::List(brackets) => match split_list(inner) {
                Some((joint, items)) => return list(&items, brackets, joint, depth, fuel),
                // One item in brackets is grouped, not listed.
                None if !matches!(brackets, Brackets::Round | Brackets::Square) => return Ok(text()),
                None => {}
            },
        }
    }
    if let Some(cases) = cases(tokens, depth, fuel)? {
        return Ok(cases);
    }
    if let Some(matrix) = matrix(tokens, depth, fuel)? {
        return Ok(matrix);
    }
    if let [inner @ .., Token::Char('^'), mark] = tokens
        && (mark.is_word("T") || mark.is_command("top") || mark.is_command("intercal"))
        && let Some(transposed) = transposed(read(inner, depth + 1, fuel)?)
    {
        return Ok(transposed);
    }
    if let Some(quantity) = quantity(tokens, depth, fuel)? {
        return Ok(quantity);
    }
    if let Some(ratio) = ratio(tokens, depth, fuel)? {
        return Ok(ratio);
    }
    match enclosed(tokens) {
        Some((Enclosure::List(Brackets::Round), inner)) => return read(inner, depth + 1, fuel),
        // `\left[\begin{array}…`.
        Some((Enclosure::List(Brackets::Square), inner)) if matches!(inner.first(), Some(Token::Command(name)) if name.starts_with("begin ")) =>
        {
            return read(inner, depth + 1, fuel);
        }
        _ => {}
    }
    Ok(text())
}

pub(crate) fn opens(token: &Token) -> bool {
    match token {
        Token::Open | Token::Char('(' | '[' | '⟨') => true,
        Token::Command(name) => name == "{" || name.starts_with("begin "),
        _ => false,
    }
}

pub(crate) fn closes(token: &Token) -> bool {
    match token {
        Token::Close | Token::Char(')' | ']' | '⟩') => true,
        Token::Command(name) => name == "}" || name.starts_with("end "),
        _ => false,
    }
}

/// Splits at the tokens outside every bracket that `separates` picks.
pub(crate) fn split<'a>(tokens: &'a [Token], separates: &dyn Fn(&Token) -> bool) -> Vec<&'a [Token]> {
    let mut depth = 0usize;
    tokens
        .split(|token| {
            if opens(token) {
                depth += 1;
            } else if closes(token) {
                depth = depth.saturating_sub(1);
            }
            depth == 0 && separates(token)
        })
        .collect()
}

/// The items of a list, if the tokens are one: split at commas, semicolons, `and` and `or`.
fn split_list(tokens: &[Token]) -> Option<(Joint, Vec<&[Token]>)> {
    let joins = |token: &Token| token.is_word("and") || token.is_word("or");
    let separates = |token: &Token| matches!(token, Token::Comma { .. } | Token::Char(';')) || joins(token);
    let mut items = split(tokens, &separates);
    if items.len() < 2 {
        return None;
    }
    let joint = match tokens.iter().rfind(|token| joins(token)) {
        Some(word) if word.is_word("or") => Joint::Or,
        Some(_) => Joint::And,
        None => Joint::Comma,
    };
    if joint != Joint::Comma {
        // `1, 2, and 3` has nothing between the last comma and its `and`.
        items.retain(|item| !item.is_empty());
    }
    Some((joint, items))
}

fn list(items: &[&[Token]], brackets: Brackets, joint: Joint, depth: u32, fuel: &mut Fuel) -> Result<Value, OutOfFuel> {
    let mut read_items = Vec::with_capacity(items.len());
    for item in items {
        read_items.push(read(item, depth + 1, fuel)?);
    }
    if brackets == Brackets::None {
        read_items = spliced(read_items);
    }
    Ok(Value::List { brackets, joint, items: read_items })
}

/// The items of a set, `±` spliced in.
fn flat(inner: &[Token], depth: u32, fuel: &mut Fuel) -> Result<Vec<Value>, OutOfFuel> {
    Ok(spliced(vec![read(inner, depth + 1, fuel)?]))
}

fn spliced(items: Vec<Value>) -> Vec<Value> {
    items
        .into_iter()
        .flat_map(|item| match item {
            Value::List { brackets: Brackets::None, items, .. } => items,
            other => vec![other],
        })
        .collect()
}

enum Enclosure {
    List(Brackets),
    Set,
}

/// What stands inside the brackets that enclose the whole answer, if any do.
fn enclosed(tokens: &[Token]) -> Option<(Enclosure, &[Token])> {
    let [first, inner @ .., last] = tokens else { return None };
    let enclosure = match (first, last) {
        (Token::Char('('), Token::Char(')')) | (Token::Char('⟨'), Token::Char('⟩')) => {
            Enclosure::List(Brackets::Round)
        }
        (Token::Open, Token::Close) => Enclosure::List(Brackets::Round),
        (Token::Char('['), Token::Char(']')) => Enclosure::List(Brackets::Square),
        (Token::Char('['), Token::Char(')')) => Enclosure::List(Brackets::OpenRight),
        (Token::Char('('), Token::Char(']')) => Enclosure::List(Brackets::OpenLeft),
        (open, close) if open.is_command("{") && close.is_command("}") => Enclosure::Set,
        _ => return None,
    };
    // The first bracket must not close before the last: `(1)(2)` is not enclosed.
    let mut depth = 0usize;
    for token in inner {
        if opens(token) {
            depth += 1;
        } else if closes(token) {
            depth = depth.checked_sub(1)?;
        }
    }
    (depth == 0).then_some((enclosure, inner))
}

fn relation(tokens: &[Token], depth: u32, fuel: &mut Fuel) -> Result<Option<Value>, OutOfFuel> {
    let parts = split(tokens, &|token| Comparison::of(token).is_some() || token.is_command("in"));
    if parts.len() < 2 {
        return Ok(None);
    }
    if parts.iter().any(|part| part.is_empty()) {
        return Ok(Some(Value::Text(tokens.to_vec())));
    }
    if let [element, set] = parts.as_slice()
        && tokens[element.len()].is_command("in")
    {
        let variable = read(element, depth + 1, fuel)?.name().map(str::to_owned);
        return Ok(Some(Value::Membership { variable, of: Box::new(read(set, depth + 1, fuel)?) }));
    }
    let (mut comparisons, mut sides, mut at) = (Vec::new(), Vec::new(), 0);
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            let Some(comparison) = tokens.get(at - 1).and_then(Comparison::of) else {
                return Ok(Some(Value::Text(tokens.to_vec())));
            };
            comparisons.push(comparison);
        }
        at += part.len() + 1;
        sides.push(match (place, *part) {
            // `f(x) = …`, `f^{-1}(x) = …` and `P(X > 2) = …` name a value.
            (0, side) if let Some(name) = function_name(side) => Value::number(Expression::Variable(name)),
            // `\min = 3`, `|z| = 5`.
            (0, [Token::Command(name)]) if name == "min" || name == "max" => {
                Value::number(Expression::Variable(name.clone()))
            }
            (
                0,
                [Token::Char('|'), Token::Word(name), Token::Char('|')]
                | [Token::Char('|'), Token::Char('|'), Token::Word(name), Token::Char('|'), Token::Char('|')],
            ) if parts.len() > 1 && name.len() == 1 && tokens[part.len()].is_char('=') => {
                Value::number(Expression::Variable(format!("|{name}|")))
            }
            // `area = 5`, `\text{Total} = 7`.
            (0, words)
                if words::all_words(words).is_some()
                    && words.iter().any(|t| matches!(t, Token::Word(w) if w.len() > 1)) =>
            {
                let label = words::all_words(words).unwrap_or_default().join(" ");
                Value::number(Expression::Variable(label))
            }
            (_, part) => read(part, depth + 1, fuel)?,
        });
    }
    Ok(Some(Value::Relation { sides, comparisons }))
}

/// The name of what stands before an equals sign, where it is a function's value: `f(x)`, `g'(2)`, `P(A)`.
fn function_name(tokens: &[Token]) -> Option<String> {
    let [Token::Word(letter), rest @ .., Token::Char(')')] = tokens else { return None };
    let open = rest.iter().position(|token| token.is_char('('))?;
    let (marks, inner) = (&rest[..open], &rest[open + 1..]);
    let is_mark = |token: &Token| {
        matches!(token, Token::Char('^' | '-' | '\'' | '_') | Token::Number(_) | Token::Open | Token::Close)
    };
    // `x(x+1) = 0` names nothing.
    let names = letter.len() == 1 && ("fghFGHPEpq".contains(letter.as_str()) || matches!(inner, [Token::Word(_)]));
    if !names || !marks.iter().all(is_mark) || inner.iter().any(|token| matches!(token, Token::Char('(' | ')'))) {
        return None;
    }
    Some(format!("{letter}{}(…)", "'".repeat(marks.len())))
}

/// Unions, intersections and differences of sets.
fn region(tokens: &[Token], depth: u32, fuel: &mut Fuel) -> Result<Option<Value>, OutOfFuel> {
    for name in ["cup", "cap", "setminus", "-"] {
        let joins = |token: &Token| match name {
            "-" => token.is_char('-'),
            _ => token.is_command(name) || (name == "cup" && token.is_word("U")),
        };
        let parts = split(tokens, &joins);
        if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
            continue;
        }
        // A `U` joins only what is bracketed: it may be a variable.
        let bracketed =
            |part: &&[Token]| part.first().is_some_and(|first| opens(first) || matches!(first, Token::Command(_)));
        if !parts.iter().all(bracketed) {
            continue;
        }
        // A minus sign takes away only a set from the real line: `\mathbb{R} - \{0\}`.
        if name == "-" && !(tokens[0].is_command("mathbb R") && parts[1][0].is_command("{")) {
            continue;
        }
        let values: Vec<Value> = parts.iter().map(|part| read(part, depth + 1, fuel)).collect::<Result<_, _>>()?;
        return Ok(Some(match name {
            "cup" => Value::Union(values),
            "cap" => Value::Intersection(values),
            _ => {
                let [a, b] = <[Value; 2]>::try_from(values).unwrap_or([Value::Empty, Value::Empty]);
                if parts.len() != 2 {
                    return Ok(None);
                }
                Value::Difference(Box::new((a, b)))
            }
        }));
    }
    Ok(None)
}

/// `\{x \mid x > 3\}`, `\{x \in \mathbb{R} : x > 3\}`.
fn set_builder(inner: &[Token], depth: u32, fuel: &mut Fuel) -> Result<Option<Value>, OutOfFuel> {
    let parts = split(inner, &|token| matches!(token, Token::Char('|' | ':')));
    let [element, condition] = parts.as_slice() else { return Ok(None) };
    let element = split(element, &|token| token.is_command("in"))[0];
    let variable = read(element, depth + 1, fuel)?.name().map(str::to_owned);
    Ok(match (variable, read(condition, depth + 1, fuel)?) {
        (Some(variable), of @ (Value::Relation { .. } | Value::List { .. } | Value::Membership { .. })) => {
            Some(Value::Membership { variable: Some(variable), of: Box::new(of) })
        }
        _ => None,
    })
}

/// A matrix in any brackets, with a factor before it or not.
fn matrix(tokens: &[Token], depth: u32, fuel: &mut Fuel) -> Result<Option<Value>, OutOfFuel> {
    let Some(begin) = tokens.iter().position(|t| matches!(t, Token::Command(name) if name.starts_with("begin ")))
    else {
        return Ok(None);
    };
    let Token::Command(name) = &tokens[begin] else { return Ok(None) };
    let name = name.trim_start_matches("begin ").trim_end_matches('*');
    if !matches!(name, "pmatrix" | "bmatrix" | "matrix" | "Bmatrix" | "smallmatrix" | "array" | "psmallmatrix") {
        return Ok(None);
    }
    let [inner @ .., end] = &tokens[begin + 1..] else { return Ok(None) };
    if !matches!(end, Token::Command(end) if end.starts_with("end ")) {
        return Ok(None);
    }
    // An array's columns: `{cc}`.
    let inner = match (name, inner) {
        ("array", [Token::Open, rest @ ..]) => {
            let end = rest.iter().position(|t| *t == Token::Close).map_or(0, |end| end + 1);
            &rest[end..]
        }
        _ => inner,
    };
    let factor = match &tokens[..begin] {
        [] => None,
        [Token::Char('-')] => Some(Expression::Number(crate::rational::integer(-1))),
        before => match parse(before, Branch::Upper, depth, fuel)? {
            Some(factor) => Some(factor),
            None => return Ok(None),
        },
    };
    let mut rows = split(inner, &|token| token.is_command("\\"));
    if rows.last().is_some_and(|row| row.is_empty()) {
        rows.pop();
    }
    let mut entries = Vec::new();
    for row in rows {
        let mut cells = Vec::new();
        for cell in split(row, &|token| token.is_char('&')) {
            let Some(cell) = parse(cell, Branch::Upper, depth + 1, fuel)? else { return Ok(None) };
            cells.push(match &factor {
                Some(factor) => Expression::Product(vec![factor.clone(), cell]),
                None => cell,
            });
        }
        entries.push(cells);
    }
    let width = entries.first().map_or(0, Vec::len);
    Ok((width > 0 && entries.iter().all(|row| row.len() == width)).then_some(Value::Matrix(entries)))
}

/// A matrix with rows and columns exchanged; a tuple is a row.
fn transposed(value: Value) -> Option<Value> {
    let rows = match value {
        Value::Matrix(rows) => rows,
        Value::List { brackets: Brackets::Round | Brackets::Square, items, .. } => {
            vec![items.iter().map(|item| item.formula().cloned()).collect::<Option<_>>()?]
        }
        _ => return None,
    };
    let width = rows.first().map_or(0, Vec::len);
    Some(Value::Matrix((0..width).map(|column| rows.iter().map(|row| row[column].clone()).collect()).collect()))
}

/// `\begin{cases}`: pieces of a formula, or the equations of a solution.
fn cases(tokens: &[Token], depth: u32, fuel: &mut Fuel) -> Result<Option<Value>, OutOfFuel> {
    let [begin, inner @ .., end] = tokens else { return Ok(None) };
    if !begin.is_command("begin cases") || !end.is_command("end cases") {
        return Ok(None);
    }
    let rows: Vec<&[Token]> =
        split(inner, &|token| token.is_command("\\")).into_iter().filter(|row| !row.is_empty()).collect();
    let bare = |part: &[Token]| -> Vec<Token> {
        let part = match part {
            [rest @ .., Token::Comma { .. } | Token::Char('.' | ';')] => rest,
            all => all,
        };
        let words = |token: &&Token| ["if", "for", "when", "where"].iter().any(|word| token.is_word(word));
        part.iter().skip_while(words).cloned().collect()
    };
    let mut pieces = Vec::new();
    for row in &rows {
        let cells = split(row, &|token| token.is_char('&'));
        let [body, condition] = cells.as_slice() else {
            let items: Vec<Vec<Token>> = rows.iter().map(|row| bare(row)).collect();
            let items: Vec<&[Token]> = items.iter().map(Vec::as_slice).collect();
            return Ok(Some(list(&items, Brackets::None, Joint::And, depth, fuel)?));
        };
        let (body, condition) = (bare(body), bare(condition));
        let otherwise = matches!(condition.as_slice(), [word] if word.is_word("otherwise") || word.is_word("else"));
        let condition = if otherwise { None } else { Some(read(&condition, depth + 1, fuel)?) };
        pieces.push((read(&body, depth + 1, fuel)?, condition));
    }
    Ok((!pieces.is_empty()).then_some(Value::Cases(pieces)))
}

fn ratio(tokens: &[Token], depth: u32, fuel: &mut Fuel) -> Result<Option<Value>, OutOfFuel> {
    let parts = split(tokens, &|token| token.is_char(':') || token.is_word("to"));
    if !(2..=8).contains(&parts.len()) {
        return Ok(None);
    }
    let mut terms = Vec::new();
    for part in parts {
        match parse(part, Branch::Upper, depth, fuel)? {
            Some(term) => terms.push(term),
            None => return Ok(None),
        }
    }
    Ok(Some(Value::Ratio(terms)))
}
