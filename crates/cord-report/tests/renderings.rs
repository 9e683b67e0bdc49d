//! One table, six renderings, and the faults that keep a draft from being one.

use std::collections::BTreeMap;

use cord_core::Digest;
use cord_eval::{Estimate, PROGRESS_PARTS, PairedDifference, PairedTest, TeacherShare};
use cord_report::{
    Ablation, AblationFigure, ArmShares, CollaborationFigure, Column, Draft, Expectation, Format, Metric, Pair, Paper,
    PaperMap, Recipe, Row, Standing, SubsetPoint, Table, TeacherWorth, TokenSums, judge_orders,
};

fn estimate(value: f64, low: f64, high: f64) -> Metric {
    Metric::Estimate(Estimate { value, low, high, n: 200 })
}

fn column(key: &str, label: &str, format: Format) -> Column {
    Column { key: key.into(), label: label.into(), format }
}

fn row(arm: &str, metrics: &[(&str, Metric)]) -> Row {
    let metrics = metrics.iter().map(|(key, metric)| ((*key).to_owned(), *metric)).collect();
    Row { arm: arm.into(), metrics, paper: BTreeMap::new() }
}

fn draft() -> Draft {
    let rows = vec![
        row(
            "cord",
            &[
                ("accuracy", estimate(0.9312, 0.91, 0.948)),
                ("perplexity", estimate(0.774, 0.76, 0.79)),
                ("tokens", Metric::Count { value: 1_234_567 }),
                ("seconds", Metric::Number { value: 81.25 }),
            ],
        ),
        row("curation", &[("accuracy", estimate(0.848, 0.82, 0.873)), ("tokens", Metric::Count { value: 0 })]),
        row("best, \"single\"", &[("accuracy", estimate(0.86, 0.83, 0.88))]),
    ];
    let paired = PairedDifference {
        difference: Estimate { value: 0.0832, low: 0.06, high: 0.105, n: 200 },
        p_value: 0.0001,
        test: PairedTest::SignFlipDrawn,
    };
    let name = |metric: &str, above: &str, below: &str| Pair {
        metric: metric.into(),
        above: above.into(),
        below: below.into(),
    };
    let expectations = [
        Expectation {
            metric: "accuracy".into(),
            order: ["cord", "curation", "best, \"single\""].map(String::from).to_vec(),
        },
        Expectation { metric: "perplexity".into(), order: ["cord", "curation"].map(String::from).to_vec() },
    ];
    let orders = judge_orders(&expectations, &rows, &BTreeMap::from([(name("accuracy", "cord", "curation"), paired)]));
    let mut draft = Draft {
        title: "Trajectories | mini".into(),
        recipe: Recipe { name: "mini-cord".into(), digest: Digest::of_bytes(b"recipe") },
        commit: "f5768a3".into(),
        machine: "2 cores".into(),
        paper: None,
        subject: None,
        columns: vec![
            column("accuracy", "accuracy %", Format::Percent),
            column("perplexity", "perplexity", Format::Decimal),
            column("tokens", "tokens", Format::Count),
            column("seconds", "seconds", Format::Seconds),
        ],
        rows,
        orders,
        notes: vec!["seeds: 1, 2, 3".into()],
    };
    Paper::published().table("table-2").unwrap().put_beside(&mut draft, &PaperMap::default()).unwrap();
    draft
}

#[test]
fn terminal() {
    insta::assert_snapshot!(draft().finish().unwrap().terminal(), @r#"
        Trajectories | mini

        arm                    accuracy %  paper            perplexity  paper     tokens  seconds
        ──────────────  ─────────────────  ─────  ────────────────────  ─────  ─────────  ───────
        cord            93.1 [91.0, 94.8]   93.1  0.774 [0.760, 0.790]  0.774  1,234,567     81.2
        curation        84.8 [82.0, 87.3]   84.8                     –  0.652          0        –
        best, "single"  86.0 [83.0, 88.0]      –                     –      –          –        –

        accuracy %: cord > curation: holds (paired difference 8.3 [6.0, 10.5], p < 0.001)
        accuracy %: curation > best, "single": not decided at this n (by their intervals)
        perplexity: cord > curation: not measured
        seeds: 1, 2, 3
        paper: table-2, quality of the generated reasoning on LIMO v1
        intervals: 95 %, clustered by problem; n: accuracy % 200, perplexity 200
        recipe: mini-cord 2cd86560b2a6
        commit: f5768a3; machine: 2 cores
        "#);
}

#[test]
fn latex() {
    insta::assert_snapshot!(draft().finish().unwrap().latex(), @r#"
        % \usepackage{booktabs}
        \begin{table}[t]
        \centering
        \caption{Trajectories | mini}
        \begin{tabular}{lrrrrrr}
        \toprule
        arm & accuracy \% & paper & perplexity & paper & tokens & seconds \\
        \midrule
        cord & 93.1 {\scriptsize [91.0, 94.8]} & 93.1 & 0.774 {\scriptsize [0.760, 0.790]} & 0.774 & 1,234,567 & 81.2 \\
        curation & 84.8 {\scriptsize [82.0, 87.3]} & 84.8 & -- & 0.652 & 0 & -- \\
        best, "single" & 86.0 {\scriptsize [83.0, 88.0]} & -- & -- & -- & -- & -- \\
        \bottomrule
        \end{tabular}
        \end{table}
        % accuracy %: cord > curation: holds (paired difference 8.3 [6.0, 10.5], p < 0.001)
        % accuracy %: curation > best, "single": not decided at this n (by their intervals)
        % perplexity: cord > curation: not measured
        % seeds: 1, 2, 3
        % paper: table-2, quality of the generated reasoning on LIMO v1
        % intervals: 95 %, clustered by problem; n: accuracy % 200, perplexity 200
        % recipe: mini-cord 2cd86560b2a6
        % commit: f5768a3; machine: 2 cores
        "#);
}

#[test]
fn a_name_is_no_command_of_a_page_or_a_paper() {
    let mut draft = draft();
    draft.title = "a_b & <script>alert(1)</script> \\input{x} 100 % $y$ #1 ~^\n[t]".into();
    draft.rows[0].arm = "[x] \"<b>\"".into();
    draft.orders.clear();
    let table = draft.finish().unwrap();
    let latex = table.latex();
    let caption = latex.lines().find(|line| line.starts_with("\\caption")).unwrap();
    assert_eq!(
        caption,
        "\\caption{a\\_b \\& \\textless{}script\\textgreater{}alert(1)\\textless{}/script\\textgreater{} \\textbackslash{}input\\{x\\} \
         100 \\% \\$y\\$ \\#1 \\textasciitilde{}\\textasciicircum{} {[}t]}"
    );
    assert!(latex.contains("\n{[}x] \"\\textless{}b\\textgreater{}\" & "), "{latex}");
    let html = table.html();
    assert!(!html.contains("<script") && !html.contains("<b>"), "{html}");
    assert!(html.contains("<caption>a_b &amp; &lt;script&gt;alert(1)&lt;/script&gt;"), "{html}");
    assert!(html.contains("<th scope=\"row\">[x] &quot;&lt;b&gt;&quot;</th><td>93.1 [91.0, 94.8]</td>"), "{html}");
}

#[test]
fn markdown() {
    insta::assert_snapshot!(draft().finish().unwrap().markdown(), @r#"
        # Trajectories \| mini

        | arm | accuracy % | paper | perplexity | paper | tokens | seconds |
        | --- | --: | --: | --: | --: | --: | --: |
        | cord | 93.1 [91.0, 94.8] | 93.1 | 0.774 [0.760, 0.790] | 0.774 | 1,234,567 | 81.2 |
        | curation | 84.8 [82.0, 87.3] | 84.8 | – | 0.652 | 0 | – |
        | best, "single" | 86.0 [83.0, 88.0] | – | – | – | – | – |

        - accuracy %: cord > curation: holds (paired difference 8.3 [6.0, 10.5], p \< 0.001)
        - accuracy %: curation > best, "single": not decided at this n (by their intervals)
        - perplexity: cord > curation: not measured
        - seeds: 1, 2, 3
        - paper: table-2, quality of the generated reasoning on LIMO v1
        - intervals: 95 %, clustered by problem; n: accuracy % 200, perplexity 200
        - recipe: mini-cord 2cd86560b2a6
        - commit: f5768a3; machine: 2 cores
        "#);
}

#[test]
fn csv() {
    insta::assert_snapshot!(draft().finish().unwrap().csv(), @r#"
        arm,accuracy,accuracy.low,accuracy.high,accuracy.n,accuracy.paper,perplexity,perplexity.low,perplexity.high,perplexity.n,perplexity.paper,tokens,tokens.low,tokens.high,tokens.n,tokens.paper,seconds,seconds.low,seconds.high,seconds.n,seconds.paper
        cord,0.9312,0.91,0.948,200,0.931,0.774,0.76,0.79,200,0.774,1234567,,,,,81.25,,,,
        curation,0.848,0.82,0.873,200,0.848,,,,,0.652,0,,,,,,,,,
        "best, ""single""",0.86,0.83,0.88,200,,,,,,,,,,,,,,,,
        "#);
}

#[test]
fn json() {
    let table = draft().finish().unwrap();
    insta::assert_snapshot!(table.json(), @r#"
        {
          "title": "Trajectories | mini",
          "recipe": {
            "name": "mini-cord",
            "digest": "2cd86560b2a6a0a54b6f2767adec4d9fbf74c7b4c39ebca63fef3cdcee0d14f3"
          },
          "commit": "f5768a3",
          "machine": "2 cores",
          "paper": {
            "table": "table-2",
            "caption": "quality of the generated reasoning on LIMO v1"
          },
          "columns": [
            {
              "key": "accuracy",
              "label": "accuracy %",
              "format": "percent"
            },
            {
              "key": "perplexity",
              "label": "perplexity",
              "format": "decimal"
            },
            {
              "key": "tokens",
              "label": "tokens",
              "format": "count"
            },
            {
              "key": "seconds",
              "label": "seconds",
              "format": "seconds"
            }
          ],
          "rows": [
            {
              "arm": "cord",
              "metrics": {
                "accuracy": {
                  "value": 0.9312,
                  "low": 0.91,
                  "high": 0.948,
                  "n": 200
                },
                "perplexity": {
                  "value": 0.774,
                  "low": 0.76,
                  "high": 0.79,
                  "n": 200
                },
                "seconds": {
                  "value": 81.25
                },
                "tokens": {
                  "value": 1234567
                }
              },
              "paper": {
                "accuracy": 0.931,
                "perplexity": 0.774
              }
            },
            {
              "arm": "curation",
              "metrics": {
                "accuracy": {
                  "value": 0.848,
                  "low": 0.82,
                  "high": 0.873,
                  "n": 200
                },
                "tokens": {
                  "value": 0
                }
              },
              "paper": {
                "accuracy": 0.848,
                "perplexity": 0.652
              }
            },
            {
              "arm": "best, \"single\"",
              "metrics": {
                "accuracy": {
                  "value": 0.86,
                  "low": 0.83,
                  "high": 0.88,
                  "n": 200
                }
              }
            }
          ],
          "orders": [
            {
              "metric": "accuracy",
              "above": "cord",
              "below": "curation",
              "standing": "holds",
              "basis": {
                "kind": "paired",
                "p-value": 0.0001
              },
              "difference": {
                "value": 0.0832,
                "low": 0.06,
                "high": 0.105,
                "n": 200
              }
            },
            {
              "metric": "accuracy",
              "above": "curation",
              "below": "best, \"single\"",
              "standing": "undecided",
              "basis": {
                "kind": "intervals"
              }
            },
            {
              "metric": "perplexity",
              "above": "cord",
              "below": "curation",
              "standing": "unmeasured"
            }
          ],
          "notes": [
            "seeds: 1, 2, 3"
          ]
        }
        "#);
    assert_eq!(serde_json::from_str::<Table>(&table.json()).unwrap(), table, "it reads back");
}

#[test]
fn all_faults_are_reported_together() {
    let mut faulty = draft();
    faulty.columns.push(faulty.columns[0].clone());
    faulty.rows[1].arm = "cord".into();
    faulty.rows[1].metrics.insert("accuracy".into(), estimate(0.5, 0.6, 0.7));
    faulty.rows[2].metrics.insert("seconds".into(), Metric::Number { value: f64::NAN });
    insta::assert_snapshot!(faulty.finish().unwrap_err(), @r#"
        expected each column once, got `accuracy` again
        expected each arm once, got `cord` again
        arm `cord`, metric `accuracy`: expected `0.5` to lie in its interval, got [0.6, 0.7]
        arm `best, "single"`, metric `seconds`: expected a finite value, got `NaN`
        "#);
}

#[test]
fn a_mapping_names_what_exists() {
    let map = PaperMap {
        rows: BTreeMap::from([("cord".into(), "beam".into()), ("cordd".into(), "cord".into())]),
        columns: BTreeMap::from([("accuracy".into(), "acc".into())]),
    };
    let table = Paper::published().table("table-2").unwrap();
    insta::assert_snapshot!(table.put_beside(&mut draft(), &map).unwrap_err(), @r#"
        `table-2`: expected a row of the paper, one of `curation-homogeneous`, `integration-homogeneous`, `cord-homogeneous`, `curation-heterogeneous`, `integration-heterogeneous`, `cord-heterogeneous`, got `beam`
        `table-2`: expected an arm of this table, one of `cord`, `curation`, `best, "single"`, got `cordd`
        `table-2`: expected a column of the paper, one of `accuracy`, `perplexity`, got `acc`
        "#);

    let mut mapped = draft();
    mapped.rows[1].paper.clear();
    let map = PaperMap {
        rows: BTreeMap::from([("curation".into(), "integration-homogeneous".into())]),
        columns: BTreeMap::from([("seconds".into(), "perplexity".into())]),
    };
    table.put_beside(&mut mapped, &map).unwrap();
    let expected = [("accuracy", 0.886), ("perplexity", 0.215), ("seconds", 0.215)];
    assert_eq!(mapped.rows[1].paper, expected.map(|(key, value)| (key.to_owned(), value)).into());
    assert!(mapped.rows[2].paper.is_empty(), "an arm that the paper does not have is left alone");
}

#[test]
fn an_order_needs_separate_intervals_or_a_paired_difference() {
    let rows = [
        row("high", &[("m", estimate(0.9, 0.85, 0.95))]),
        row("middle", &[("m", estimate(0.8, 0.75, 0.86))]),
        row("low", &[("m", estimate(0.5, 0.4, 0.6))]),
        row("touching", &[("m", estimate(0.3, 0.2, 0.4))]),
        row("bare", &[("m", Metric::Number { value: 0.1 })]),
    ];
    for (above, below, expected) in [
        ("high", "low", Standing::Holds),
        ("low", "high", Standing::Reversed),
        ("high", "middle", Standing::Undecided),
        ("middle", "high", Standing::Undecided),
        ("low", "touching", Standing::Undecided),
        ("high", "bare", Standing::Unmeasured),
        ("high", "absent", Standing::Unmeasured),
    ] {
        let expectation = Expectation { metric: "m".into(), order: vec![above.into(), below.into()] };
        let verdicts = judge_orders(&[expectation], &rows, &BTreeMap::new());
        assert_eq!(verdicts.iter().map(|v| v.standing).collect::<Vec<_>>(), [expected], "{above} > {below}");
    }
}

fn figure() -> CollaborationFigure {
    let share = |teacher: &str, first: f64| {
        let estimate = |value: f64| Estimate { value, low: value - 0.05, high: value + 0.05, n: 9 };
        let part = |part: usize| estimate(if part < 4 { first } else { 1.0 - first });
        TeacherShare {
            teacher: teacher.into(),
            whole: estimate(0.5),
            parts: (0..PROGRESS_PARTS).map(part).collect(),
            late_minus_early: PairedDifference {
                difference: estimate(1.0 - 2.0 * first),
                p_value: 0.01,
                test: PairedTest::StudentT,
            },
        }
    };
    let arm = |name: &str| ArmShares { arm: name.into(), teachers: vec![share("a<b", 0.75), share("closer", 0.25)] };
    CollaborationFigure {
        title: "Who & what".into(),
        recipe: Recipe { name: "mini".into(), digest: Digest::of_bytes(b"recipe") },
        commit: "f5768a3".into(),
        paper: Paper::published().figure("figure-5").cloned(),
        arms: vec![arm("beam"), arm("mcts")],
    }
}

#[test]
fn a_figure_is_drawn_with_a_line_and_a_band_for_each_teacher() {
    let svg = figure().svg().unwrap();
    assert_eq!(svg, figure().svg().unwrap(), "the same figure gives the same bytes");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    // Two teachers in each of two panels.
    assert_eq!(svg.matches("<polygon").count(), 4);
    for colour in ["#0072B2", "#E69F00"] {
        let lines = svg.matches("<polyline").count();
        assert!(lines >= 4 && svg.contains(colour), "{lines} lines, {colour}");
    }
    for text in ["Who &amp; what", "a&lt;b", "closer", "beam", "mcts", "progress of the trajectory, %"] {
        assert!(svg.contains(text), "no `{text}` in {svg}");
    }
    assert!(!svg.contains("a<b"));
}

#[test]
fn a_figure_is_data_too() {
    let csv = figure().csv();
    assert_eq!(csv.lines().count(), 1 + 2 * 2 * PROGRESS_PARTS);
    let first: Vec<&str> = csv.lines().take(2).collect();
    assert_eq!(first[0], "arm,teacher,from,to,share,low,high,n");
    assert_eq!(first[1], "beam,a<b,0,0.1,0.75,0.7,0.8,9");
    let back: CollaborationFigure = serde_json::from_str(&figure().json()).unwrap();
    assert_eq!(back, figure());
    insta::assert_snapshot!(figure().lines()[0], @"beam: a<b wrote 50.0 [45.0, 55.0] % of the chosen steps; last fifth minus first two: -50.0 [-55.0, -45.0] points");
}

#[test]
fn a_column_beside_another_of_the_papers_says_which() {
    let mut draft = draft();
    let columns = BTreeMap::from([("accuracy".to_owned(), "perplexity".to_owned())]);
    let map = PaperMap { columns, ..PaperMap::default() };
    Paper::published().put_beside("table-2", &mut draft, &map).unwrap();
    let heading = draft.finish().unwrap().markdown().lines().nth(2).unwrap().to_owned();
    assert_eq!(heading, "| arm | accuracy % | paper: perplexity | perplexity | paper | tokens | seconds |");
    // A figure of the paper has no values to put beside ours.
    let mut other = self::draft();
    other.rows.iter_mut().for_each(|row| row.paper.clear());
    Paper::published().put_beside("figure-2", &mut other, &PaperMap::default()).unwrap();
    assert_eq!(other.paper.as_ref().unwrap().table, "figure-2");
    assert!(other.rows.iter().all(|row| row.paper.is_empty()));
}

#[test]
fn an_ablation_is_two_tables_and_a_figure() {
    let of = |value: f64| Estimate { value, low: value - 0.05, high: value + 0.05, n: 64 };
    let drafted = |subject: &str, rows: Vec<Row>| {
        let columns = vec![column("accuracy", "accuracy", Format::Percent)];
        let subject = Some(subject.to_owned());
        Draft { subject, columns, rows, orders: Vec::new(), notes: Vec::new(), paper: None, ..draft() }
            .finish()
            .unwrap()
    };
    let worth = |teacher: &str, left_out: Option<f64>| TeacherWorth {
        teacher: teacher.into(),
        left_out: left_out.map(of),
        shapley: Some(of(0.4)),
    };
    let point = |subset: &str, teachers: u32, tokens: f64| SubsetPoint {
        subset: subset.into(),
        teachers,
        tokens,
        quality: of(0.5),
    };
    let ablation = Ablation {
        subsets: drafted("teachers", vec![row("a", &[("accuracy", of(0.5).into())]), row("a+b", &[])]),
        teachers: drafted("teacher", vec![row("a", &[("accuracy", of(-0.02).into())])]),
        tokens: TokenSums { generated_apart: 1_245_616, generated: 539_950, scored_apart: 0, scored: 0 },
        figure: AblationFigure {
            title: "Ablation".into(),
            metric: "accuracy".into(),
            subsets: vec![point("a", 1, 100.0), point("a+b", 2, 400.0)],
            teachers: vec![worth("a", Some(-0.02)), worth("b", None)],
        },
    };
    insta::assert_snapshot!(
        ablation.tokens.line(15),
        @"15 subsets share their replies: they generate 539,950 tokens where separate runs would 1,245,616 (43.3 %), and score 0 tokens where separate runs would 0 (0.0 %)."
    );
    let markdown = ablation.markdown();
    assert!(markdown.contains("| teachers | accuracy |") && markdown.contains("| teacher | accuracy |"), "{markdown}");
    assert!(ablation.terminal().contains("-2.0 [-7.0, 3.0]"), "{}", ablation.terminal());
    assert!(ablation.subsets.csv().starts_with("teachers,accuracy,"), "{}", ablation.subsets.csv());
    let read: Ablation = serde_json::from_str(&ablation.json()).unwrap();
    assert_eq!(read, ablation);
    let svg = ablation.figure.svg().unwrap();
    for part in ["a+b", "2 teachers", "Shapley value", "lost when left out", "accuracy, points"] {
        assert!(svg.contains(part), "no `{part}` in {svg}");
    }
    // Nothing was left out: no bars, and no word of them.
    let figure = AblationFigure { teachers: vec![worth("a", None)], ..ablation.figure };
    assert!(!figure.svg().unwrap().contains("lost when left out"));
}
