//! One HTML file that asks for no other: style, script and, where it is static, the data.
//!
//! Texts come from models, so the page trusts none: they are data and never markup. In a static file every block of
//! data is compressed and in base64, an alphabet without `<`; the script puts text into the page as text; and a policy
//! that names the style and the script by their digests keeps the browser from running or fetching anything else.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Overview, ProblemPage};
use crate::html::escaped;
use crate::palette;

/// What the page's elements are before the script fills them.
const BODY: &str = include_str!("../../assets/body.html");

/// The style, in its order.
const STYLES: [&str; 4] = [
    include_str!("../../assets/colours.css"),
    include_str!("../../assets/page.css"),
    include_str!("../../assets/results.css"),
    include_str!("../../assets/explorer.css"),
];

/// The script's parts, in their order: each uses what stands before it.
const SCRIPTS: [&str; 10] = [
    include_str!("../../assets/dom.js"),
    include_str!("../../assets/data.js"),
    include_str!("../../assets/chart.js"),
    include_str!("../../assets/results.js"),
    include_str!("../../assets/filters.js"),
    include_str!("../../assets/list.js"),
    include_str!("../../assets/tree.js"),
    include_str!("../../assets/problem.js"),
    include_str!("../../assets/keys.js"),
    include_str!("../../assets/main.js"),
];

/// The page as a server gives it.
#[derive(Clone, Debug)]
pub struct Served {
    /// The page.
    pub html: String,
    /// The value of its `Content-Security-Policy` header.
    pub policy: String,
}

/// The page without data, which it asks its server for: `overview.json`, `problem-<collection>-<arm>-<problem>.json`, and of a
/// run that is not finished `version.json`.
pub fn served_page() -> Served {
    let (style, script) = (style(), script());
    let own = policy(&style, &script, "'self'");
    let mut html = head("cord view", "served", &own, &style);
    html.push_str("<noscript><p>This page is drawn by a script; `cord table` needs none.</p></noscript>\n");
    html.push_str(&foot(&script));
    // Browsers heed `frame-ancestors` only in a header.
    Served { html, policy: format!("{own}; frame-ancestors 'none'") }
}

/// The page with its data, written as it comes: a file may be larger than memory.
#[derive(Debug)]
pub struct StaticPage<W: Write> {
    out: W,
    written: u64,
}

impl<W: Write> StaticPage<W> {
    /// Begins the page.
    pub fn begin(out: W, title: &str) -> io::Result<Self> {
        let mut page = Self { out, written: 0 };
        page.put(&head(title, "static", &policy(&style(), &script(), "'none'"), &style()))?;
        Ok(page)
    }

    /// Adds what an arm made of a problem. Gives the bytes that it took.
    pub fn add(&mut self, collection: usize, arm: usize, problem: usize, page: &ProblemPage) -> io::Result<u64> {
        self.block(&format!("problem-{collection}-{arm}-{problem}"), page)
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Ends the page with what it shows first. Gives back where it was written to.
    pub fn finish(mut self, overview: &Overview) -> io::Result<W> {
        self.block("overview", &Painted::new(overview))?;
        self.put("<noscript>")?;
        for table in &overview.tables {
            self.put(&table.html)?;
        }
        self.put("</noscript>\n")?;
        self.put(&foot(&script()))?;
        Ok(self.out)
    }

    fn block<T: Serialize>(&mut self, name: &str, data: &T) -> io::Result<u64> {
        let block = packed(data)?;
        self.put(&format!("<script type=\"application/octet-stream\" id=\"{name}\">{block}</script>\n"))
    }

    fn put(&mut self, text: &str) -> io::Result<u64> {
        self.out.write_all(text.as_bytes())?;
        self.written += text.len() as u64;
        Ok(text.len() as u64)
    }
}

/// The overview with the colours of its teachers.
#[derive(Serialize)]
struct Painted<'a> {
    palette: Vec<String>,
    #[serde(flatten)]
    overview: &'a Overview,
}

impl<'a> Painted<'a> {
    fn new(overview: &'a Overview) -> Self {
        Self { palette: palette::hexadecimal(), overview }
    }
}

impl Overview {
    /// The overview as the page reads it.
    ///
    /// # Panics
    /// Never: it holds texts and finite numbers.
    pub fn json(&self) -> String {
        serde_json::to_string(&Painted::new(self)).expect("an overview can be written as JSON")
    }
}

impl ProblemPage {
    /// The problem as the page reads it.
    ///
    /// # Panics
    /// Never: it holds texts and finite numbers.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a problem's page can be written as JSON")
    }

    /// The bytes that it takes in a static page.
    pub fn packed_bytes(&self) -> io::Result<u64> {
        Ok(packed(self)?.len() as u64)
    }
}

/// Data as JSON, compressed (zlib), in base64.
fn packed<T: Serialize>(data: &T) -> io::Result<String> {
    let mut packing = ZlibEncoder::new(Vec::new(), Compression::default());
    serde_json::to_writer(&mut packing, data)?;
    Ok(STANDARD.encode(packing.finish()?))
}

fn style() -> String {
    STYLES.concat()
}

fn script() -> String {
    format!("\"use strict\";\n{}", SCRIPTS.concat())
}

fn digest(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

fn policy(style: &str, script: &str, connect: &str) -> String {
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src {connect}; img-src data:; base-uri 'none'; \
         form-action 'none'",
        digest(script),
        digest(style)
    )
}

fn head(title: &str, source: &str, policy: &str, style: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\" data-source=\"{source}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<title>{}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>{style}</style>\n</head>\n<body>\n{BODY}",
        escaped(title)
    )
}

fn foot(script: &str) -> String {
    format!("<script type=\"module\">{script}</script>\n</body>\n</html>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const HOSTILE: &str = "</script><img src=x onerror=alert(1)>\u{202e}\0<!--";

    #[test]
    fn the_parts_end_no_element_and_load_nothing() {
        let (style, script) = (style(), script());
        assert!(!style.contains("</") && !script.contains("</script") && !script.contains("<!--"));
        for banned in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
            assert!(!script.contains(banned), "the script has `{banned}`");
        }
        for text in [style.as_str(), script.as_str(), BODY] {
            let away: Vec<&str> =
                text.match_indices("http").map(|(at, _)| &text[at..text.len().min(at + 40)]).collect();
            // The name of SVG's elements is no address.
            assert!(away.iter().all(|one| one.starts_with("http://www.w3.org/2000/svg")), "{away:?}");
        }
        assert!(!BODY.contains("style=") && !BODY.contains("onclick"));
    }

    #[test]
    fn hostile_text_stands_in_no_markup_and_comes_back_whole() {
        let overview = Overview { title: HOSTILE.into(), notes: vec![HOSTILE.into()], ..Overview::default() };
        let problem = ProblemPage { question: HOSTILE.into(), ..ProblemPage::default() };
        let mut page = StaticPage::begin(Vec::new(), HOSTILE).unwrap();
        page.add(0, 1, 2, &problem).unwrap();
        let html = String::from_utf8(page.finish(&overview).unwrap()).unwrap();
        assert!(!html.contains("<img") && !html.contains('\0'));
        let begin = html.find("id=\"problem-0-1-2\">").unwrap() + "id=\"problem-0-1-2\">".len();
        let block = &html[begin..begin + html[begin..].find('<').unwrap()];
        let mut json = String::new();
        flate2::read::ZlibDecoder::new(&STANDARD.decode(block).unwrap()[..]).read_to_string(&mut json).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["question"], HOSTILE);
        assert_eq!(problem.packed_bytes().unwrap(), block.len() as u64);
        // Its own script, and the blocks of data, are all that there is.
        assert_eq!(html.matches("<script").count(), html.matches("</script>").count());
        assert_eq!(html.matches("<script").count(), 3);
    }

    #[test]
    fn the_policy_names_the_style_and_the_script_that_are_there() {
        let Served { html, policy } = served_page();
        let part = |open: &str, close: &str| {
            let begin = html.find(open).unwrap() + open.len();
            html[begin..begin + html[begin..].find(close).unwrap()].to_owned()
        };
        for (text, what) in
            [(part("<style>", "</style>"), "style-src"), (part("<script type=\"module\">", "</script>"), "script-src")]
        {
            assert!(policy.contains(&format!("{what} {}", digest(&text))), "{policy}");
        }
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
    }
}
