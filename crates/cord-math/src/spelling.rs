//! What commands, symbols and runs of letters mean, as tables.

use crate::token::Token;
use crate::unit;
use crate::words;

/// What a command is reduced to.
pub(crate) enum Reduced {
    Token(Token),
    /// Visible white space.
    Space,
    /// A thin space, which may group thousands.
    Thin,
    /// No meaning at all.
    Nothing,
    /// `\left` and `\right`, whose invisible form is followed by a full stop.
    Delimiter,
    /// A font or box round its argument.
    Font,
    /// A change to text mode for its argument.
    Text,
    /// The argument is part of the name.
    Named,
    /// A length, dropped with its argument.
    Measure,
}

/// The meaning of `\name`.
pub(crate) fn reduce(name: &str) -> Reduced {
    let command = |name: &str| Reduced::Token(Token::Command(name.to_owned()));
    let character = |c: char| Reduced::Token(Token::Char(c));
    match name {
        "left" | "right" => Reduced::Delimiter,
        "big" | "Big" | "bigg" | "Bigg" | "bigl" | "bigr" | "Bigl" | "Bigr" | "biggl" | "biggr" | "Biggl" | "Biggr"
        | "displaystyle" | "textstyle" | "scriptstyle" | "limits" | "nolimits" | "middle" | "!" | "(" | ")" | "["
        | "]" | "" | "bf" | "rm" | "it" | "/" | "checkmark" | "blacksquare" | "therefore" => Reduced::Nothing,
        "," | " " | ";" | ":" => Reduced::Thin,
        "quad" | "qquad" | "\n" | "\t" | ">" | "enspace" | "thinspace" | "newline" => Reduced::Space,
        "text" | "textbf" | "textit" | "textrm" | "textnormal" | "textsf" | "texttt" | "emph" | "mathrm" | "mbox"
        | "hbox" | "operatorname" | "mathsf" | "mathtt" => Reduced::Text,
        "mathbf" | "mathit" | "mathcal" | "boldsymbol" | "bm" | "pmb" | "boxed" | "fbox" | "underline"
        | "ensuremath" | "displaylines" | "vec" | "overrightarrow" | "hat" | "tilde" => Reduced::Font,
        "begin" | "end" | "mathbb" | "Bbb" => Reduced::Named,
        "hspace" | "vspace" | "phantom" | "hphantom" | "vphantom" | "label" | "tag" | "color" | "textcolor" => {
            Reduced::Measure
        }
        "dfrac" | "tfrac" | "cfrac" | "frac" | "nicefrac" | "sfrac" => command("frac"),
        "binom" | "dbinom" | "tbinom" => command("binom"),
        "times" | "cdot" | "ast" | "bullet" => character('*'),
        "div" => character('/'),
        "lbrace" => command("{"),
        "rbrace" => command("}"),
        "lbrack" => character('['),
        "rbrack" => character(']'),
        "lvert" | "rvert" | "vert" | "mid" | "|" | "Vert" | "lVert" | "rVert" => character('|'),
        "colon" => character(':'),
        "langle" => character('⟨'),
        "rangle" => character('⟩'),
        "lt" => character('<'),
        "gt" => character('>'),
        "leq" | "le" | "leqslant" => command("le"),
        "geq" | "ge" | "geqslant" => command("ge"),
        "neq" | "ne" => command("ne"),
        "approx" | "simeq" | "approxeq" | "thickapprox" => command("approx"),
        "emptyset" | "varnothing" => command("emptyset"),
        "ldots" | "cdots" | "dots" | "dotsc" | "dotsb" => command("dots"),
        "setminus" | "backslash" | "smallsetminus" => command("setminus"),
        "land" | "wedge" => Reduced::Token(Token::Word("and".to_owned())),
        "lor" | "vee" => Reduced::Token(Token::Word("or".to_owned())),
        "varepsilon" => command("epsilon"),
        "varphi" => command("phi"),
        "vartheta" => command("theta"),
        "degree" | "degrees" => command("degree"),
        "overline" | "widebar" | "bar" => command("overline"),
        "$" => command("dollar"),
        "euro" | "texteuro" => command("euro"),
        "pounds" | "textsterling" => command("pound"),
        "%" => character('%'),
        "&" | "#" | "_" | "-" => character(name.chars().next().unwrap_or(' ')),
        "cr" => command("\\"),
        other => command(other),
    }
}

/// A raised digit or sign, as it stands on the line.
pub(crate) fn raised(symbol: char) -> Option<char> {
    "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻".chars().position(|c| c == symbol).map(|place| char::from(b"0123456789+-"[place]))
}

/// The tokens of a symbol outside ASCII.
pub(crate) fn symbol(symbol: char) -> Option<Vec<Token>> {
    if symbol.is_ascii() {
        return None;
    }
    let command = |name: &str| vec![Token::Command(name.to_owned())];
    let number = |n: char| Token::Number(n.to_string());
    let frac = |a: char, b: char| {
        vec![
            Token::Command("frac".to_owned()),
            Token::Open,
            number(a),
            Token::Close,
            Token::Open,
            number(b),
            Token::Close,
        ]
    };
    if let Some(digit) = "₀₁₂₃₄₅₆₇₈₉".chars().position(|c| c == symbol) {
        return Some(vec![Token::Char('_'), Token::Number(digit.to_string())]);
    }
    Some(match symbol {
        '−' | '–' | '﹣' | '－' => vec![Token::Char('-')],
        '＋' => vec![Token::Char('+')],
        '×' | '·' | '⋅' | '∙' | '✕' | '∗' => vec![Token::Char('*')],
        '÷' | '∕' | '⁄' | '／' => vec![Token::Char('/')],
        '＝' => vec![Token::Char('=')],
        '＜' => vec![Token::Char('<')],
        '＞' => vec![Token::Char('>')],
        '（' => vec![Token::Char('(')],
        '）' => vec![Token::Char(')')],
        '，' | '、' => vec![Token::Comma { tight: false }],
        '：' | '∶' => vec![Token::Char(':')],
        '；' => vec![Token::Char(';')],
        '。' | '।' => vec![Token::Char('.')],
        '％' => vec![Token::Char('%')],
        '∣' => vec![Token::Char('|')],
        '’' | '‘' | '′' => vec![Token::Char('\'')],
        '“' | '”' => vec![Token::Char('"')],
        '≤' | '⩽' => command("le"),
        '≥' | '⩾' => command("ge"),
        '≠' => command("ne"),
        '≈' => command("approx"),
        '∈' => command("in"),
        '∪' => command("cup"),
        '∩' => command("cap"),
        '∖' => command("setminus"),
        '∅' | '⌀' => command("emptyset"),
        '∞' => command("infty"),
        '±' => command("pm"),
        '∓' => command("mp"),
        '¢' => vec![Token::Word("cent".to_owned())],
        '∑' => command("sum"),
        '∏' => command("prod"),
        '∫' => command("int"),
        '≡' => command("equiv"),
        '°' | 'º' | '˚' => command("degree"),
        '√' => command("sqrt"),
        '∛' => {
            vec![Token::Command("sqrt".to_owned()), Token::Char('['), Token::Number("3".to_owned()), Token::Char(']')]
        }
        '…' => command("dots"),
        'π' => command("pi"),
        'α' => command("alpha"),
        'β' => command("beta"),
        'γ' => command("gamma"),
        'δ' => command("delta"),
        'ε' => command("epsilon"),
        'θ' => command("theta"),
        'λ' => command("lambda"),
        'μ' => command("mu"),
        'ρ' => command("rho"),
        'σ' => command("sigma"),
        'τ' => command("tau"),
        'φ' | 'ϕ' => command("phi"),
        'ω' => command("omega"),
        'ℝ' => command("mathbb R"),
        'ℤ' => command("mathbb Z"),
        'ℕ' => command("mathbb N"),
        'ℚ' => command("mathbb Q"),
        'ℂ' => command("mathbb C"),
        '⌊' => command("lfloor"),
        '⌋' => command("rfloor"),
        '⌈' => command("lceil"),
        '⌉' => command("rceil"),
        '€' => command("euro"),
        '£' => command("pound"),
        '¥' | '￥' => command("yen"),
        '₹' => command("rupee"),
        '½' => frac('1', '2'),
        '⅓' => frac('1', '3'),
        '⅔' => frac('2', '3'),
        '¼' => frac('1', '4'),
        '¾' => frac('3', '4'),
        '⅕' => frac('1', '5'),
        '⅖' => frac('2', '5'),
        '⅗' => frac('3', '5'),
        '⅘' => frac('4', '5'),
        '⅙' => frac('1', '6'),
        '⅚' => frac('5', '6'),
        '⅛' => frac('1', '8'),
        '⅜' => frac('3', '8'),
        '⅝' => frac('5', '8'),
        '⅞' => frac('7', '8'),
        _ => return None,
    })
}

/// The command that a run of letters spells without its backslash, as ASCII answers do.
pub(crate) fn named(letters: &str) -> Option<&'static str> {
    Some(match letters {
        "infinity" | "inf" | "oo" => "infty",
        "asin" => "arcsin",
        "acos" => "arccos",
        "atan" => "arctan",
        _ => NAMES.iter().find(|name| **name == letters)?,
    })
}

const NAMES: &[&str] = &[
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "asin", "acos",
    "atan", "ln", "log", "lg", "exp", "sqrt", "cbrt", "pi", "theta", "alpha", "beta", "gamma", "delta", "epsilon",
    "lambda", "mu", "rho", "sigma", "tau", "phi", "omega", "infty", "infinity", "inf", "oo", "abs", "floor", "ceil",
    "gcd", "lcm", "max", "min", "cis",
];

/// Is a run of letters a word rather than variables multiplied? `xy` and `abc` are variables; `cm`, `east`, `AB`
/// (a segment) and `CBAD` (a row of choices) are words: as products they would equal their anagrams.
pub(crate) fn is_word(letters: &str) -> bool {
    let count = letters.chars().count();
    if count == 1 {
        return false;
    }
    if count > 3 || !letters.is_ascii() || letters.bytes().any(|b| b.is_ascii_uppercase()) {
        return true;
    }
    let variable = |b: u8| matches!(b, b'a'..=b'd' | b'h' | b'k' | b'm'..=b'n' | b'p'..=b'z');
    // `i` and `e` stand beside one variable (`xi`, `ei`), never in a run of three.
    let splits = letters.bytes().all(|b| variable(b) || (count == 2 && matches!(b, b'i' | b'e')));
    !splits || named(letters).is_some() || words::is_known(letters) || unit::is_known(letters)
}
