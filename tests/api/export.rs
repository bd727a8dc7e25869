//! The audit trail in spreadsheets, with any delimiter and quote.

use std::io::Write;
use std::process::{Command, Stdio};

use super::*;

/// Reads the file in every way that Python's `csv` supports, and prints each cell that could be a formula.
const READER: &str = r#"
import csv, io, itertools, sys, unicodedata
text = sys.stdin.buffer.read().decode()
ways = itertools.product(",;\t|", ['"', "'", None], [True, False], [True, False], [None, "\\"])
for delimiter, quote, double, skip, escape in ways:
    quoting = csv.QUOTE_NONE if quote is None else csv.QUOTE_MINIMAL
    form = dict(delimiter=delimiter, quoting=quoting, doublequote=double, skipinitialspace=skip, escapechar=escape)
    if quote:
        form["quotechar"] = quote
    for row in csv.reader(io.StringIO(text, newline=""), **form):
        for cell in row:
            shown = cell.lstrip().lstrip("\ufeff\u200b\u00a0").lstrip()
            if shown[:1] and unicodedata.normalize("NFKC", shown[:1]) in "=+-@" or cell[:1] in ("\t", "\r", "\n"):
                print(form, repr(cell))
# As it is meant, nothing is lost.
for row in csv.DictReader(io.StringIO(text, newline="")):
    assert None not in row and None not in row.values(), row
    print("user", row["user"])
"#;

#[tokio::test(flavor = "multi_thread")]
async fn no_reader_finds_a_formula_in_the_trail() {
    let api = Api::start().await;
    let mut users = Vec::new();
    for sign in ["=", "+", "-", "@", "＝", "＋", "－", "＠"] {
        for before in [
            "", "x;", "x,", "x|", "x\t", "x; ", "x;\"", "x;\"\"", "x;'", "x; ' \"", "x|\\", "x,\u{a0}", "x\n", "x\r\n",
            " ", "\t", "\"", "x\";\"",
        ] {
            let name = format!("{before}{sign}cmd|' /C calc'!A0;y");
            // Some of them are invalid names, which are refused.
            if api.gateway.store.accounts.create(NewUser::named(&name)).await.is_ok() {
                users.push(name);
            }
        }
    }
    assert!(users.len() > 60, "{users:?}");
    for user in ["alice", "a-b+c=d@example.test", "Ann; Bob, Eve | Mallory", "it's \"so\""] {
        api.gateway.store.accounts.create(NewUser::named(user)).await.unwrap();
        users.push(user.to_owned());
    }
    let csv = api.ask("GET", "/audit/export?format=csv", None).await.body;
    let read = tokio::task::spawn_blocking(move || {
        let mut python = Command::new("python3");
        let mut python = python.args(["-c", READER]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        python.stdin.take().unwrap().write_all(&csv).unwrap();
        python.wait_with_output().unwrap()
    });
    let read = read.await.unwrap();
    assert!(read.status.success());
    let lines = String::from_utf8(read.stdout).unwrap();
    let (read, formulas): (Vec<&str>, Vec<&str>) = lines.lines().partition(|line| line.starts_with("user "));
    assert_eq!(formulas, Vec::<&str>::new());
    // Apart from the inserted mark, each name is unchanged.
    let bare = |text: &str| text.replace(['\'', '’'], "");
    let read: Vec<String> = read.iter().map(|line| bare(line.trim_start_matches("user "))).collect();
    for user in &users {
        assert!(read.contains(&bare(user)), "{user:?} in {read:?}");
    }
}
