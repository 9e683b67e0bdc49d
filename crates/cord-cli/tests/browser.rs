//! The page of `cord view` in a real browser. These need `chromium` and `chromedriver` (Debian's packages of those names), so they
//! run when they are asked for: `cargo test --workspace --test browser -- --ignored`. `.ci/run` asks.

mod gallery;
mod serving;
mod webdriver;

use serde_json::{Value, json};
use serving::Serving;
use webdriver::{Browser, DOWN, ENTER, ESCAPE, RIGHT};

/// The names of the rows in sight.
const NAMES: &str = "return [...document.querySelectorAll('.row .name')].map((name) => name.textContent)";
const COUNT: &str = "return document.getElementById('count').textContent";
const OPENED: &str = "return document.querySelector('#detail h1')?.textContent ?? null";

#[expect(clippy::print_stderr, reason = "a test that did not run says so")]
fn browser() -> Option<Browser> {
    let browser = Browser::open();
    if browser.is_none() {
        eprintln!("NOT CHECKED: the page in a browser, for want of `chromium` and `chromedriver` on this machine");
    }
    browser
}

/// Both ways to the page of the gallery: from a server, and as a file.
fn both(check: impl Fn(&Browser, &str)) {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = gallery::make(folder.path(), "gallery");
    let serving = Serving::of(&[&run]);
    check(&browser, &format!("http://127.0.0.1:{}/", serving.port));
    let file = run.join("page.html");
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_cord"))
        .arg("view")
        .arg(&run)
        .arg("--static")
        .arg(&file)
        .output();
    assert!(made.unwrap().status.success());
    check(&browser, &format!("file://{}", file.display()));
}

#[track_caller]
fn opened(browser: &Browser, name: &str) {
    browser.wait(&format!("return document.querySelector('#detail h1')?.textContent === {name:?} && document.querySelector('.side > *') !== null"));
}

#[test]
#[ignore = "needs chromium and chromedriver"]
fn hostile_text_is_shown_and_does_nothing() {
    both(|browser, page| {
        browser.go(&format!("{page}#/problems?set=gallery%2Ftrain&p=p-0000"));
        opened(browser, "p-0000");
        let text = browser.run("return document.getElementById('detail').textContent");
        let text = text.as_str().unwrap();
        assert!(text.contains("</script></pre><img src=x onerror=\"window.taken=1\">"), "{page}");
        assert!(text.contains("{{7*7}}") && text.contains("שלום"));
        // What can't be seen is named, wherever it stands; a line break of another system is one.
        for named in ["U+202E", "U+202C", "U+0000", "U+0007", "U+2066", "U+200F"] {
            assert!(text.contains(named), "{page}: no {named}");
        }
        assert!(!text.contains("U+000D") && !text.contains('\u{202e}'), "{page}");
        assert!(
            browser
                .run("return [...document.querySelectorAll('pre')].some((pre) => pre.textContent.length >= 100000)")
                .as_bool()
                .unwrap()
        );
        // The other arms too, the failure's reason, and the table's notes.
        browser.go(&format!("{page}#/problems?set=gallery%2Ftrain&arm=teacher&with=curation&p=p-0000"));
        opened(browser, "p-0000");
        browser.go(&format!("{page}#/problems?set=gallery%2Ftrain&p=p-0059"));
        opened(browser, "p-0059");
        assert!(
            browser
                .run("return document.getElementById('detail').textContent")
                .as_str()
                .unwrap()
                .contains("the model said: </script>")
        );
        browser.go(&format!("{page}#/results"));
        assert!(
            browser
                .run("return document.getElementById('results').textContent")
                .as_str()
                .unwrap()
                .contains("A gallery & <b>its</b> table")
        );
        let made = browser.run("return [window.taken ?? null, document.images.length, document.querySelectorAll('main b, main script').length - document.querySelectorAll('.facts b').length]");
        assert_eq!(made, json!([null, 0, 0]), "{page}");
        assert_eq!(browser.complaints(), Vec::<String>::new(), "{page}");
        // And if a text did become markup, the policy keeps it from running and from asking anyone.
        browser.run(
            "document.body.insertAdjacentHTML('beforeend', '<img src=\"http://127.0.0.1:9/x\" onerror=\"window.taken=3\"><iframe srcdoc=\"<script>parent.taken=4</script>\"></iframe>'); \
             const own = document.createElement('script'); own.textContent = 'window.taken=5'; document.body.append(own)",
        );
        browser.wait("return document.images[0].complete");
        assert_eq!(browser.run("return window.taken ?? null"), Value::Null, "{page}");
        assert!(browser.complaints().iter().any(|line| line.contains("Content Security Policy")), "{page}");
    });
}

#[test]
#[ignore = "needs chromium and chromedriver"]
fn the_keyboard_goes_everywhere() {
    both(|browser, page| {
        browser.go(page);
        assert_eq!(browser.run("return document.getElementById('results').hidden"), false);
        browser.press("2");
        browser.wait("return !document.getElementById('problems').hidden && document.querySelector('.row') !== null");
        browser.press("j");
        opened(browser, "p-0000");
        browser.press("jjk");
        opened(browser, "p-0001");
        assert_eq!(
            browser.run("return document.querySelector('.row[aria-selected=true] .name').textContent"),
            "p-0001"
        );
        assert_eq!(
            browser.run("return document.getElementById('list').getAttribute('aria-activedescendant')"),
            "row-1"
        );
        // Steps: the focus is on the chosen candidate of each.
        let focused =
            "return document.activeElement.closest('.step')?.querySelector('h3').firstChild.textContent ?? null";
        browser.press(RIGHT);
        assert_eq!(browser.run(focused), "Step 1");
        browser.press(&RIGHT.repeat(2));
        assert_eq!(browser.run(focused), "Step 3");
        let open = "return document.activeElement.getAttribute('aria-expanded')";
        assert_eq!(browser.run(open), "true");
        browser.press(DOWN);
        assert_eq!(browser.run(open), "false");
        let hidden = "return document.getElementById(document.activeElement.getAttribute('aria-controls')).hidden";
        assert_eq!(browser.run(hidden), true);
        browser.press(ENTER);
        assert_eq!((browser.run(open), browser.run(hidden)), (json!("true"), json!(false)));
        // The path alone, and the other trajectory.
        let cards = "return document.querySelectorAll('.card').length";
        assert_eq!(browser.run(cards), 38);
        browser.press("a");
        assert_eq!(browser.run(cards), 7);
        browser.press("t");
        assert_eq!(
            browser.run("return document.querySelectorAll('.tabs [aria-pressed=true]')[0].textContent.slice(0, 5)"),
            "no. 2"
        );
        browser.press("a");
        assert_eq!(browser.run(cards), 38);
        // What is typed is typed.
        browser.press("/");
        assert_eq!(browser.run("return document.activeElement.id"), "search");
        browser.press("0042j");
        assert_eq!(browser.run(COUNT), "0 of 60 problems");
        browser.press("\u{e003}");
        browser.press(ENTER);
        opened(browser, "p-0042");
        browser.press("/");
        browser.press(ESCAPE);
        assert_eq!(browser.run(COUNT), "60 problems");
        browser.press(ESCAPE);
        // Help is a dialog that holds the keys.
        browser.press("?");
        assert_eq!(browser.run("return document.getElementById('keys').open"), true);
        browser.press("j");
        assert_eq!(browser.run(OPENED), "p-0042");
        browser.press(ESCAPE);
        assert_eq!(browser.run("return document.getElementById('keys').open"), false);
        // Light and dark, kept.
        let ground = "return getComputedStyle(document.documentElement).backgroundColor";
        let before = browser.run(ground);
        browser.press("d");
        let after = browser.run(ground);
        assert_ne!(before, after);
        browser.go(page);
        assert_eq!(browser.run(ground), after, "{page}");
        browser.press("d");
        browser.press("2");
        browser.wait("return !document.getElementById('problems').hidden");
        browser.press("1");
        browser.wait("return !document.getElementById('results').hidden");
        assert_eq!(browser.complaints(), Vec::<String>::new());
    });
}

#[test]
#[ignore = "needs chromium and chromedriver"]
fn filters_leave_what_they_say() {
    both(|browser, page| {
        browser.go(&format!("{page}#/problems"));
        let press = |group: &str, key: &str| {
            browser.run(&format!("document.querySelector('#{group} [data-key=\"{key}\"]').click()"));
        };
        let choose = |id: &str, text: &str| {
            browser.run(&format!("const select = document.getElementById('{id}'); select.value = [...select.options].find((one) => one.textContent.startsWith({text:?})).value; select.dispatchEvent(new Event('change', {{ bubbles: true }}))"));
        };
        let shown = |key: &str| {
            let script =
                format!("return document.querySelector('#states [data-key=\"{key}\"] .number')?.textContent ?? '0'");
            browser.run(&script).as_str().unwrap().parse::<usize>().unwrap()
        };
        assert_eq!(browser.run(COUNT), "60 problems");
        // 59 problems in a cycle of five, and one that failed. Of the fourth kind the second trajectory is right.
        for (state, expected) in [("wrong", 12), ("truncated", 12), ("unclosed", 12), ("failed", 1), ("right", 35)] {
            assert_eq!(shown(state), expected, "{state}");
            press("states", state);
            assert_eq!(browser.run(COUNT), format!("{expected} of 60 problems"), "{state}");
            press("states", state);
        }
        press("states", "wrong");
        press("states", "failed");
        assert_eq!(browser.run(COUNT), "13 of 60 problems");
        assert!(browser.run("return location.hash").as_str().unwrap().contains("states=wrong%2Cfailed"));
        // The address holds it all.
        let address = browser.run("return location.href");
        browser.go(address.as_str().unwrap());
        assert_eq!(browser.run(COUNT), "13 of 60 problems");
        assert_eq!(browser.run(NAMES).as_array().unwrap()[..3], [json!("p-0001"), json!("p-0006"), json!("p-0011")]);
        press("states", "wrong");
        press("states", "failed");
        // By teacher: a whole response has one.
        choose("arm", "curation");
        assert_eq!(browser.run(COUNT), "60 problems");
        press("writers", "0");
        assert_eq!(browser.run(COUNT), "59 of 60 problems");
        press("writers", "0");
        // Side by side, with what tells the two apart.
        choose("other", "cord");
        let pairs = ["only-first", "only-second", "both-right", "neither"].map(shown);
        assert_eq!(pairs.iter().sum::<usize>(), 60);
        press("states", "only-second");
        assert_eq!(browser.run(COUNT), format!("{} of 60 problems", pairs[1]));
        browser.press("j");
        browser.wait("return document.querySelectorAll('.sides.two .side').length === 2 && document.querySelectorAll('.side .card').length > 0");
        let chips =
            browser.run("return [...document.querySelectorAll('.side .given .chip')].map((chip) => chip.textContent)");
        assert_eq!(chips, json!(["wrong", "right"]), "{page}");
        assert_eq!(browser.complaints(), Vec::<String>::new());
    });
}

#[test]
#[ignore = "needs chromium and chromedriver"]
fn a_server_is_asked_for_the_opened_problem_alone_and_a_file_for_nothing() {
    both(|browser, page| {
        browser.go(&format!("{page}#/problems?p=p-0003"));
        opened(browser, "p-0003");
        let asked =
            browser.run("return performance.getEntriesByType('resource').map((entry) => new URL(entry.name).pathname)");
        let expected =
            if page.starts_with("file") { json!([]) } else { json!(["/overview.json", "/problem-0-0-3.json"]) };
        assert_eq!(asked, expected);
        // The list holds the rows in sight and a few more, wherever it is.
        browser.resize(1280, 700);
        assert!(browser.run("return document.querySelectorAll('.row').length").as_u64().unwrap() < 25);
        browser.run("document.getElementById('list').scrollTop = 1e6");
        browser
            .wait("return [...document.querySelectorAll('.row .name')].some((name) => name.textContent === 'p-0059')");
    });
}

#[test]
#[ignore = "needs chromium and chromedriver"]
fn nothing_is_cut_or_overlaps_at_any_width() {
    both(|browser, page| {
        for width in [400, 800, 1000, 1440, 1900] {
            browser.resize(width, 900);
            for view in ["#/results", "#/problems", "#/problems?p=p-0000", "#/problems?p=p-0003&with=curation"] {
                browser.go(&format!("{page}{view}"));
                if view.contains("p=") {
                    browser.wait("return document.querySelector('.side .card') !== null");
                }
                let wide = browser.run("return document.documentElement.scrollWidth - innerWidth");
                assert!(wide.as_i64().unwrap() <= 0, "{page}{view} at {width}: {wide} pixels beyond the window");
                // Controls and cards stand beside each other.
                let overlaps = browser.run(
                    "const seen = [...document.querySelectorAll('.bar a, .bar button, .choices label, .chips button, .card > button > *, .given > div, .panel')]
                       .map((one) => [one, one.getBoundingClientRect()]).filter(([, box]) => box.width && box.height);
                     const found = [];
                     for (let a = 0; a < seen.length; a++) for (let b = a + 1; b < seen.length; b++) {
                       const [[one, x], [other, y]] = [seen[a], seen[b]];
                       if (one.parentElement !== other.parentElement) continue;
                       const [w, h] = [Math.min(x.right, y.right) - Math.max(x.left, y.left), Math.min(x.bottom, y.bottom) - Math.max(x.top, y.top)];
                       if (w > 1 && h > 1) found.push(`${one.className || one.tagName} ${one.textContent.slice(0, 30)} | ${other.className || other.tagName} ${other.textContent.slice(0, 30)}`);
                     }
                     return found.slice(0, 5)",
                );
                assert_eq!(overlaps, json!([]), "{page}{view} at {width}");
            }
        }
    });
}

#[test]
#[ignore = "needs chromium and chromedriver"]
fn every_element_can_be_named_and_reached() {
    both(|browser, page| {
        for view in ["#/results", "#/problems?p=p-0003&with=curation"] {
            browser.go(&format!("{page}{view}"));
            if view.contains("p=") {
                browser.wait("return document.querySelector('.side .card') !== null");
            }
            let faults = browser.run(
                "const faults = [];
                 const seen = (one) => one.offsetParent !== null || one.getClientRects().length;
                 for (const one of document.querySelectorAll('button, a, select, input')) {
                   const named = one.textContent.trim() || one.getAttribute('aria-label') || one.closest('label')?.textContent.trim();
                   if (seen(one) && !named) faults.push(`no name: ${one.outerHTML.slice(0, 80)}`);
                 }
                 for (const table of document.querySelectorAll('table')) {
                   if (!table.caption?.textContent) faults.push('a table without a caption');
                   if ([...table.querySelectorAll('th')].some((head) => !head.scope)) faults.push('a heading without a scope');
                 }
                 for (const drawing of document.querySelectorAll('svg')) {
                   if (drawing.getAttribute('aria-hidden') !== 'true' && !drawing.getAttribute('aria-label')) faults.push('a drawing without words');
                 }
                 const ids = [...document.querySelectorAll('main [id]')].map((one) => one.id);
                 if (new Set(ids).size !== ids.length) faults.push('an id twice');
                 for (const one of document.querySelectorAll('[aria-controls]')) {
                   if (!document.getElementById(one.getAttribute('aria-controls'))) faults.push('controls nothing');
                 }
                 const levels = [...document.querySelectorAll('main h1, main h2, main h3')].filter(seen).map((one) => Number(one.tagName[1]));
                 levels.forEach((level, at) => { if (at && level > levels[at - 1] + 1) faults.push(`h${level} after h${levels[at - 1]}`); });
                 if (levels.filter((level) => level === 1).length !== 1) faults.push('not one h1');
                 return faults",
            );
            assert_eq!(faults, json!([]), "{page}{view}");
        }
    });
}

#[test]
#[ignore = "needs chromium and chromedriver"]
fn a_page_says_when_its_run_has_gone_on() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = gallery::make(folder.path(), "gallery");
    let serving = Serving::of(&[&run]);
    browser.go(&format!("http://127.0.0.1:{}/#/problems?p=p-0003", serving.port));
    opened(&browser, "p-0003");
    std::fs::write(run.join("other.table.json"), std::fs::read(run.join("table.json")).unwrap()).unwrap();
    browser.wait("return !document.getElementById('more').hidden");
    // What is open stays, and what is asked for from now on is of the new reading.
    browser.run("document.getElementById('more').click()");
    browser.wait("return document.getElementById('more').hidden && document.querySelector('#detail h1') !== null");
    opened(&browser, "p-0003");
    browser.press("j");
    opened(&browser, "p-0004");
    browser.press("1");
    assert_eq!(browser.run("return document.querySelectorAll('#results .orders, #results caption').length"), 3);
}
