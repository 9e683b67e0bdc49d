//! Languages as data: how numbers are written and how an answer is announced.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The language that a response is written in; those of MGSM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Language {
    /// English.
    #[default]
    English,
    /// German.
    German,
    /// French.
    French,
    /// Spanish.
    Spanish,
    /// Russian.
    Russian,
    /// Chinese.
    Chinese,
    /// Japanese.
    Japanese,
    /// Thai.
    Thai,
    /// Swahili.
    Swahili,
    /// Bengali.
    Bengali,
    /// Telugu.
    Telugu,
}

/// How numbers are grouped and where their decimals begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `1,234.56`.
    Point,
    /// `12,34,567.89`.
    Indian,
    /// `1.234,56`, and `1 234,56` with any space.
    Comma,
}

struct Row {
    language: Language,
    format: Format,
    /// What announces an answer, in lower case; the answer follows.
    cues: &'static [&'static str],
}

const TABLE: &[Row] = &[
    Row {
        language: Language::English,
        format: Format::Point,
        cues: &[
            "final answer is",
            "final answer:",
            "answer is",
            "answer:",
            "answer =",
            "answer to the question is",
            "correct option is",
            "correct choice is",
        ],
    },
    Row {
        language: Language::German,
        format: Format::Comma,
        cues: &[
            "antwort ist",
            "antwort lautet",
            "antwort:",
            "ergebnis ist",
            "ergebnis lautet",
            "ergebnis:",
            "lösung ist",
            "lösung:",
        ],
    },
    Row {
        language: Language::French,
        format: Format::Comma,
        cues: &["réponse est", "réponse finale est", "réponse finale :", "réponse :", "réponse:", "résultat est"],
    },
    Row {
        language: Language::Spanish,
        format: Format::Comma,
        cues: &["respuesta es", "respuesta final es", "respuesta final:", "respuesta:", "resultado es"],
    },
    Row {
        language: Language::Russian,
        format: Format::Comma,
        cues: &["ответ —", "ответ -", "ответ:", "ответ равен", "ответ это", "окончательный ответ"],
    },
    Row {
        language: Language::Chinese,
        format: Format::Point,
        cues: &["答案是", "答案为", "答案：", "答案:", "最终答案", "答：", "答:"],
    },
    Row {
        language: Language::Japanese,
        format: Format::Point,
        cues: &["答えは", "答え：", "答え:", "解答は", "解答：", "解答:", "最終的な答え"],
    },
    Row {
        language: Language::Thai,
        format: Format::Point,
        cues: &["คำตอบคือ", "คำตอบสุดท้ายคือ", "คำตอบ:", "คำตอบ :", "ตอบ:", "ตอบ "],
    },
    Row { language: Language::Swahili, format: Format::Point, cues: &["jibu ni", "jibu la mwisho ni", "jibu:"] },
    Row {
        language: Language::Bengali,
        format: Format::Indian,
        cues: &["উত্তর হল", "উত্তর হলো", "উত্তর হচ্ছে", "উত্তর:", "উত্তরঃ", "উত্তরটি"],
    },
    Row {
        language: Language::Telugu, format: Format::Indian, cues: &["సమాధానం:", "సమాధానము:", "జవాబు:", "సమాధానం", "జవాబు"]
    },
];

impl Language {
    /// Every language, in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::English,
        Self::German,
        Self::French,
        Self::Spanish,
        Self::Russian,
        Self::Chinese,
        Self::Japanese,
        Self::Thai,
        Self::Swahili,
        Self::Bengali,
        Self::Telugu,
    ];

    fn row(self) -> &'static Row {
        TABLE.iter().find(|row| row.language == self).unwrap_or(&TABLE[0])
    }

    /// What announces an answer in this language, in lower case. English cues are heard in every language: models
    /// fall back to them.
    pub fn cues(self) -> impl Iterator<Item = &'static str> {
        let english: &[&str] = if self == Self::English { &[] } else { TABLE[0].cues };
        self.row().cues.iter().chain(english).copied()
    }

    /// The text with its numbers written as `1234.56`, as this language's readers understand them. `1.234` is one
    /// and a bit in English, and a thousand in German; `1,234.5` can only be English, and stays.
    pub fn plain_numbers(self, text: &str) -> Cow<'_, str> {
        let text = western_digits(text);
        match self.row().format {
            Format::Point => text,
            format => Cow::Owned(rewritten(&text, format)),
        }
    }
}

/// The text with the digits of other scripts as ASCII ones.
pub(crate) fn western_digits(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || !text.chars().any(|c| digit(c).is_some()) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| digit(c).unwrap_or(c)).collect())
}

fn digit(c: char) -> Option<char> {
    // Arabic-Indic, Persian, Devanagari, Bengali, Tamil, Telugu, Thai, full width.
    const ZEROS: [u32; 8] = [0x660, 0x6f0, 0x966, 0x9e6, 0xbe6, 0xc66, 0xe50, 0xff10];
    let code = u32::from(c);
    let zero = ZEROS.into_iter().find(|zero| (*zero..*zero + 10).contains(&code))?;
    char::from_digit(code - zero, 10)
}

/// Rewrites each run of digits and separators.
fn rewritten(text: &str, format: Format) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(|c: char| c.is_ascii_digit()) {
        out += &rest[..begin];
        rest = &rest[begin..];
        let end = run_length(rest, format);
        out += &plain(&rest[..end], format);
        rest = &rest[end..];
    }
    out + rest
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\u{a0}' | '\u{202f}' | '\u{2009}')
}

/// The length of the number at the start: digits, and separators with digits on both sides. A space separates
/// only before a group of three.
fn run_length(text: &str, format: Format) -> usize {
    let mut end = 0;
    for (at, c) in text.char_indices() {
        let after = &text[at + c.len_utf8()..];
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let joins = match c {
            '0'..='9' => true,
            '.' | ',' => digits > 0,
            c if is_space(c) => format == Format::Comma && digits == 3 && at <= 3 + end,
            _ => false,
        };
        if !joins {
            break;
        }
        end = at + c.len_utf8();
    }
    end
}

fn plain(number: &str, format: Format) -> String {
    let number: String = number.chars().filter(|c| !is_space(*c)).collect();
    let groups_of = |whole: &str, separator: char, sizes: &[usize]| {
        let mut groups = whole.split(separator).rev();
        let last = groups.next().is_some_and(|group| group.len() == 3);
        let count = whole.split(separator).count();
        last && count > 1
            && groups.enumerate().all(|(place, group)| {
                if place + 2 == count { (1..=3).contains(&group.len()) } else { sizes.contains(&group.len()) }
            })
    };
    let joined = |whole: &str, separator: char| whole.replace(separator, "");
    match format {
        Format::Point => number,
        Format::Indian => {
            let (whole, decimals) = number.split_once('.').map_or((number.as_str(), None), |(w, d)| (w, Some(d)));
            if !groups_of(whole, ',', &[2, 3]) {
                return number;
            }
            decimals.map_or_else(|| joined(whole, ','), |decimals| format!("{}.{decimals}", joined(whole, ',')))
        }
        Format::Comma => match (number.find(','), number.find('.')) {
            // English, `1,234.5`.
            (Some(comma), Some(point)) if comma < point => number,
            (Some(_), _) if number.matches(',').count() == 1 => {
                let (whole, decimals) = number.split_once(',').unwrap_or((&number, ""));
                if whole.contains('.') && !groups_of(whole, '.', &[3]) {
                    return number;
                }
                format!("{}.{decimals}", joined(whole, '.'))
            }
            (None, Some(_)) if groups_of(&number, '.', &[3]) && !number.starts_with('0') => joined(&number, '.'),
            _ => number,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_language_writes_them() {
        for (language, text, expected) in [
            (Language::English, "1,234.56", "1,234.56"),
            (Language::German, "1.234,56", "1234.56"),
            (Language::German, "1.234", "1234"),
            (Language::German, "3.5 und 0.123", "3.5 und 0.123"),
            (Language::German, "3,5", "3.5"),
            (Language::German, "1,234.5", "1,234.5"),
            (Language::German, "12.345.678 Euro.", "12345678 Euro."),
            (Language::French, "1 234,5", "1234.5"),
            (Language::French, "1\u{202f}234\u{202f}567", "1234567"),
            (Language::French, "12 et 345", "12 et 345"),
            (Language::Russian, "0,75", "0.75"),
            (Language::Bengali, "১২,৩৪,৫৬৭", "1234567"),
            (Language::Telugu, "౧౨", "12"),
            (Language::Thai, "๔๒", "42"),
            (Language::Japanese, "４２", "42"),
        ] {
            assert_eq!(language.plain_numbers(text), expected, "{language:?} {text}");
        }
    }

    #[test]
    fn every_language_has_a_row_of_its_own() {
        for language in Language::ALL {
            assert_eq!(language.row().language, language);
            assert!(language.row().cues.iter().all(|cue| *cue == cue.to_lowercase()), "{language:?}");
        }
    }
}
