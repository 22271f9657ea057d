//! Commands in documents: what they name must exist, a filter must match a test, and `tgossip` must
//! accept its arguments.

use clap::error::ErrorKind;

use super::Finding;
use super::markdown::Document;
use super::workspace::{Target, Test};

/// What documents write as `T NAME FILTER` and `C NAME FILTER`: the package of the test NAME.
const SHORT: [(&str, &str); 2] = [("T", "telemetry-gossip-tests"), ("C", "telemetry-gossip-cli")];

/// What is said of an option at the end, which a text may name without its value.
const LACKS: &str = " lacks its value";

/// Words that stand for something to be typed, and an example of it.
const EXAMPLES: [(&str, &str); 11] = [
    ("HOST:PORT", "127.0.0.1:7201"),
    ("ADDR", "127.0.0.1:7201"),
    ("PORT", "7201"),
    ("TIME", "+90s"),
    ("SPAN", "5s"),
    ("SEED", "7"),
    ("SHARE", "5%"),
    ("COMMAND", "agent"),
    ("KEY=VALUE", "load=0.7"),
    ("URL", "file:cluster.toml"),
    ("SHELL", "bash"),
];

/// What commands are held against.
pub(crate) struct Ground<'a> {
    pub(crate) targets: &'a [Target],
    /// The targets that commands in the documents of `fuzz/` mean.
    pub(crate) fuzz_targets: &'a [Target],
    /// Parses the arguments of `tgossip`, its name included.
    pub(crate) accepts: &'a dyn Fn(&[String]) -> Result<(), clap::Error>,
    /// The scenarios that `tgossip sim` knows.
    pub(crate) scenarios: &'a [String],
    /// Whether there is such a path in the repository.
    pub(crate) exists: &'a dyn Fn(&str) -> bool,
}

/// Every command of the document that cannot be run as it stands.
pub(crate) fn wrong(document: &Document, ground: &Ground<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for block in &document.blocks {
        let lines = joined(&block.text);
        for (offset, line) in &lines {
            let line = match block.language.as_str() {
                "sh" | "bash" | "shell" => line.as_str(),
                // Of a session only what is typed, behind the prompt.
                "console" => line.strip_prefix("$ ").unwrap_or_default(),
                _ => continue,
            };
            for command in split(line) {
                let what = check(document, ground, &command, true).err();
                findings.extend(what.map(|what| Finding::new(document, block.line + offset, what)));
            }
        }
    }
    for code in document.inline_code() {
        for command in split(&code.text) {
            let what = check(document, ground, &command, false).err();
            findings.extend(what.map(|what| Finding::new(document, code.line, what)));
        }
    }
    findings
}

/// Checks one command. If it is `whole`, it must run as it stands; otherwise it may leave out
/// required arguments, as where a text just names a command.
fn check(
    document: &Document,
    ground: &Ground<'_>,
    words: &[String],
    whole: bool,
) -> Result<(), String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let targets =
        if document.path.starts_with("fuzz") { ground.fuzz_targets } else { ground.targets };
    if let [short, rest @ ..] = &*words
        && !rest.is_empty()
        && let Some((_, package)) = SHORT.iter().find(|(letter, _)| letter == short)
    {
        let full = [&["test", "--release", "-p", package, "--test"], rest].concat();
        return cargo(ground, targets, &full, whole);
    }
    match *words {
        ["cargo", ref rest @ ..] => cargo(ground, targets, rest, whole),
        ["tgossip" | "target/release/tgossip", ref rest @ ..] => tgossip(ground, rest, whole),
        [program, ..] if program.starts_with(".ci/") && !(ground.exists)(program) => {
            Err(format!("there is no {program}"))
        }
        _ => Ok(()),
    }
}

/// A command of cargo, its name left out.
fn cargo(
    ground: &Ground<'_>,
    targets: &[Target],
    words: &[&str],
    whole: bool,
) -> Result<(), String> {
    let shown = format!("cargo {}", words.join(" "));
    let words: Vec<&str> = words.iter().copied().filter(|word| !word.starts_with('+')).collect();
    let Some((&command, rest)) = words.split_first() else { return Ok(()) };
    let (own, passed) = match rest.iter().position(|word| *word == "--") {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &rest[..0]),
    };
    if command == "fuzz" {
        return fuzz(ground, own).map_err(|what| format!("`{shown}`: {what}"));
    }
    if !["test", "bench", "run"].contains(&command) {
        return Ok(());
    }
    let choice = match Choice::of(own) {
        Err(what) if !whole && what.ends_with(LACKS) => return Ok(()),
        choice => choice.map_err(|what| format!("`{shown}`: {what}"))?,
    };
    let targets = if choice.manifest.is_some_and(|path| path.starts_with("fuzz/")) {
        ground.fuzz_targets
    } else {
        targets
    };
    let chosen = choice.targets(command, targets).map_err(|what| format!("`{shown}`: {what}"))?;
    match command {
        "test" => {
            let filters: Vec<&str> = choice.filter.into_iter().collect();
            matched(&chosen, filters, passed).map_err(|what| format!("`{shown}`: {what}"))
        }
        "run" if chosen.iter().any(|target| target.name == "tgossip") => {
            tgossip(ground, passed, true)
        }
        _ => Ok(()),
    }
}

/// What the options of a cargo command choose.
#[derive(Debug, Default)]
struct Choice<'a> {
    package: Option<&'a str>,
    manifest: Option<&'a str>,
    /// Kinds and names; an empty name means all of the kind.
    targets: Vec<(&'static str, &'a str)>,
    filter: Option<&'a str>,
}

impl<'a> Choice<'a> {
    fn of(words: &[&'a str]) -> Result<Self, String> {
        let mut choice = Self::default();
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word}{LACKS}"));
            match word {
                "-p" | "--package" => choice.package = Some(value()?),
                "--manifest-path" => choice.manifest = Some(value()?),
                "--test" => choice.targets.push(("test", value()?)),
                "--bench" => choice.targets.push(("bench", value()?)),
                "--bin" => choice.targets.push(("bin", value()?)),
                "--example" => choice.targets.push(("example", value()?)),
                "--lib" => choice.targets.push(("lib", "")),
                "--features" | "--profile" | "--target" => drop(value()?),
                "--release"
                | "--workspace"
                | "--no-run"
                | "--locked"
                | "--offline"
                | "--all-targets"
                | "--all-features"
                | "--no-default-features" => {}
                option if option.starts_with('-') => {
                    return Err(format!("the check of documents does not know {option}"));
                }
                filter if choice.filter.is_none() => choice.filter = Some(filter),
                second => return Err(format!("{second} is a second filter")),
            }
        }
        Ok(choice)
    }

    fn targets<'t>(&self, command: &str, all: &'t [Target]) -> Result<Vec<&'t Target>, String> {
        let of_package =
            |target: &&Target| self.package.is_none_or(|package| target.package == package);
        if let Some(package) =
            self.package.filter(|_| !all.iter().any(|target| of_package(&target)))
        {
            return Err(format!("there is no package {package}"));
        }
        let mut chosen = Vec::new();
        for (kind, name) in &self.targets {
            let named = |target: &&Target| {
                target.kind == *kind && (name.is_empty() || target.name == *name)
            };
            let before = chosen.len();
            chosen.extend(all.iter().filter(of_package).filter(named));
            if chosen.len() == before {
                let package =
                    self.package.map(|package| format!(" in {package}")).unwrap_or_default();
                return Err(format!("there is no {kind} {name}{package}"));
            }
        }
        if self.targets.is_empty() {
            let meant = |target: &&Target| match command {
                "bench" => target.kind == "bench",
                "run" => target.kind == "bin",
                _ => target.tested,
            };
            chosen.extend(all.iter().filter(of_package).filter(meant));
        }
        Ok(chosen)
    }
}

/// Whether a test would run.
fn matched<'a>(
    chosen: &[&Target],
    mut filters: Vec<&'a str>,
    passed: &[&'a str],
) -> Result<(), String> {
    let (mut ignored, mut plain, mut exact, mut skipped) = (false, true, false, Vec::new());
    let mut words = passed.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "--ignored" => (ignored, plain) = (true, false),
            "--include-ignored" => (ignored, plain) = (true, true),
            "--exact" => exact = true,
            "--skip" => skipped.push(words.next().ok_or("--skip lacks its value")?),
            "--nocapture" | "--no-capture" | "--quiet" | "-q" | "--list" => {}
            option if option.starts_with("--test-threads") => {}
            option if option.starts_with('-') => {
                return Err(format!("the check of documents does not know {option}"));
            }
            filter => filters.push(filter),
        }
    }
    let fits = |test: &Test, filter: &str| {
        if exact { test.path == filter } else { test.path.contains(filter) }
    };
    let runs = |test: &Test| {
        (if test.ignored { ignored } else { plain })
            && (filters.is_empty() || filters.iter().any(|filter| fits(test, filter)))
            && !skipped.iter().any(|skip| fits(test, skip))
    };
    let tests = chosen.iter().flat_map(|target| &target.tests);
    if !tests.clone().any(runs) {
        return Err(format!("no test of {} runs", tests.count()));
    }
    match filters.iter().find(|filter| !tests.clone().any(|test| fits(test, filter))) {
        Some(filter) => Err(format!("no test matches {filter}")),
        None => Ok(()),
    }
}

/// `cargo fuzz run [OPTIONS] TARGET ..`: the target must exist.
fn fuzz(ground: &Ground<'_>, words: &[&str]) -> Result<(), String> {
    let mut words = words.iter().copied();
    if !words.next().is_some_and(|command| ["run", "fmt", "tmin", "cmin"].contains(&command)) {
        return Ok(());
    }
    while let Some(word) = words.next() {
        match word {
            "--sanitizer" => drop(words.next()),
            target => {
                let known =
                    ground.fuzz_targets.iter().any(|one| one.kind == "bin" && one.name == target);
                return if known {
                    Ok(())
                } else {
                    Err(format!("there is no fuzz target {target}"))
                };
            }
        }
    }
    Ok(())
}

/// Arguments of `tgossip`.
fn tgossip(ground: &Ground<'_>, words: &[&str], whole: bool) -> Result<(), String> {
    let shown = format!("tgossip {}", words.join(" "));
    let left_out = |word: &&str| ["...", "…"].contains(word);
    let whole = whole && !words.iter().any(left_out);
    let kept = words.iter().copied().filter(|word| !left_out(word)).map(with_example);
    let arguments: Vec<String> = std::iter::once("tgossip".to_owned()).chain(kept).collect();
    if let Err(error) = (ground.accepts)(&arguments) {
        let fine = match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => !whole,
            // An option may be named without its value.
            _ => !whole && error.to_string().contains("a value is required"),
        };
        if !fine {
            let first = error.to_string().lines().next().unwrap_or_default().to_owned();
            return Err(format!("`{shown}`: {first}"));
        }
    }
    if let [_, sim, name, ..] = &*arguments
        && sim == "sim"
        && !name.starts_with('-')
        && !name.ends_with(".toml")
        && !ground.scenarios.contains(name)
        && !name.chars().all(|c| c.is_ascii_uppercase())
    {
        return Err(format!("`{shown}`: there is no scenario {name}"));
    }
    Ok(())
}

fn with_example(word: &str) -> String {
    let example = EXAMPLES.iter().find(|(placeholder, _)| word.contains(placeholder));
    example.map_or_else(
        || word.to_owned(),
        |(placeholder, example)| word.replace(placeholder, example),
    )
}

/// Lines with those joined that end in a backslash; with the offset of the first.
fn joined(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (offset, line) in text.lines().enumerate() {
        let (part, more) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match lines.last_mut().filter(|_| goes_on) {
            Some((_, before)) => before.push_str(part),
            None => lines.push((offset, part.to_owned())),
        }
        goes_on = more;
    }
    lines
}

/// The commands of a line of shell as words, without comments, redirections and the variables that
/// are set before them.
fn split(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut redirected = false;
    for word in words(line) {
        match word.as_str() {
            "&&" | "||" | "|" | ";" | "&" => commands.push(Vec::new()),
            ">" | ">>" | "2>" | "<" | "2>&1" => redirected = word != "2>&1",
            _ if redirected => redirected = false,
            _ => commands.last_mut().expect("there is one").push(word),
        }
    }
    for command in &mut commands {
        let is_setting = |word: &String| {
            let name = word.split_once('=').map(|(name, _)| name);
            let of_name = |c: char| c.is_ascii_uppercase() || c == '_';
            word == "sudo"
                || word == "time"
                || name.is_some_and(|name| !name.is_empty() && name.chars().all(of_name))
        };
        let settings = command.iter().take_while(|word| is_setting(word)).count();
        command.drain(..settings);
    }
    commands.retain(|command| !command.is_empty());
    commands
}

fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote): (Vec<String>, Option<String>, Option<char>) =
        (vec![], None, None);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('#', None) if word.is_none() => break,
            (';', None) => words.extend(word.take().into_iter().chain([";".to_owned()])),
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn target(package: &str, kind: &str, name: &str, tests: &[(&str, bool)]) -> Target {
        let test = |&(path, ignored): &(&str, bool)| Test { path: path.into(), ignored };
        Target {
            package: package.into(),
            kind: kind.into(),
            name: name.into(),
            tested: kind != "bench",
            tests: tests.iter().map(test).collect(),
        }
    }

    fn findings_in(path: &str, text: &str) -> Vec<String> {
        let targets = [
            target(
                "telemetry-gossip-tests",
                "test",
                "accuracy",
                &[("bad_link", false), ("half_an_hour", true)],
            ),
            target("core", "lib", "core", &[("node::tests::a_ping", false)]),
            target("cli", "bin", "tgossip", &[]),
            target("telemetry-gossip-cli", "test", "garbage", &[("all_is_well", false)]),
            target("bench", "bench", "compare", &[]),
            target("facade", "example", "embed", &[]),
        ];
        let fuzz_targets =
            [target("fuzz", "bin", "datagram", &[]), target("fuzz", "example", "seeds", &[])];
        let ground = Ground {
            targets: &targets,
            fuzz_targets: &fuzz_targets,
            accepts: &|arguments| {
                telemetry_gossip_cli::command_line().try_get_matches_from(arguments).map(drop)
            },
            scenarios: &["crash".to_owned()],
            exists: &|path| path == ".ci/run",
        };
        let document = Document::new(Path::new(path), text.to_owned());
        wrong(&document, &ground).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn commands_that_can_be_run_are_right() {
        for text in [
            "cargo test --release",
            "cargo test --release bad_link -- --nocapture",
            "cargo test -p core --lib a_ping",
            "cargo bench -p bench --bench compare -- memory",
            "cargo run --release --example embed -- edge-1",
            "cargo run --release --bin tgossip -- demo --nodes 20    # a comment",
            "cargo clippy --whatever",
            "RUSTFLAGS=\"-C x\" cargo test bad_link; true",
            "tgossip sim crash --nodes 250 | head > file && tgossip sim ./mine.toml",
            "tgossip agent --id edge-1 \\\n    --set a=1 b=2",
            "tgossip help key",
            ".ci/run",
            "echo tgossip nothing",
        ] {
            let block = format!("```sh\n{text}\n```\n");
            assert_eq!(findings_in("README.md", &block), Vec::<String>::new(), "{text}");
        }
        for text in [
            "T accuracy half -- --ignored",
            "T accuracy",
            "C garbage",
            "tgossip key list",
            "tgossip agent ... --json",
            "tgossip members --via HOST:PORT",
            "tgossip members --via",
            "cargo test --test",
            "tgossip replay DIR --at TIME",
            "cargo test",
            "a T b",
        ] {
            assert_eq!(
                findings_in("README.md", &format!("a `{text}` b")),
                Vec::<String>::new(),
                "{text}"
            );
        }
        assert_eq!(
            findings_in("fuzz/README.md", "`cargo run --example seeds`"),
            Vec::<String>::new()
        );
        assert_eq!(
            findings_in("fuzz/README.md", "`X=1 cargo fuzz run --sanitizer none datagram a`").len(),
            0
        );
    }

    #[test]
    fn commands_that_cannot_be_run_are_found() {
        for (text, found) in [
            ("cargo test --release -p nothing", "there is no package nothing"),
            ("cargo test --test nothing", "there is no test nothing"),
            ("cargo test -p core --test accuracy", "there is no test accuracy in core"),
            ("cargo test nothing", "no test of 4 runs"),
            ("cargo test -p telemetry-gossip-tests links", "no test of 2 runs"),
            ("cargo test bad_link -- nothing", "no test matches nothing"),
            ("cargo test half_an_hour", "no test of 4 runs"),
            ("cargo test bad_link -- --ignored", "no test of 4 runs"),
            ("cargo test a_ping -- --exact", "no test of 4 runs"),
            ("cargo test bad_link -- --skip link", "no test of 4 runs"),
            ("cargo test --wrong", "does not know --wrong"),
            ("cargo test --test", "--test lacks its value"),
            ("tgossip members --via", "a value is required"),
            ("cargo bench --bench nothing", "there is no bench nothing"),
            ("cargo run --example nothing", "there is no example nothing"),
            ("cargo run --bin tgossip -- demo --nodes 1", "type 2 or more"),
            ("cargo fuzz run nothing", "there is no fuzz target nothing"),
            ("tgossip nothing", "unrecognized subcommand"),
            ("tgossip demo --nothing", "unexpected argument"),
            ("tgossip sim nothing", "there is no scenario nothing"),
            ("true && tgossip agent", "required arguments"),
            ("tgossip members --via \\\n    127.0.0.1", "such as 127.0.0.1:7101"),
            (".ci/nothing", "there is no .ci/nothing"),
        ] {
            let findings = findings_in("README.md", &format!("```sh\n\n{text}\n```\n"));
            assert!(findings.len() == 1 && findings[0].contains(found), "{text}: {findings:?}");
            assert!(findings[0].starts_with("README.md:3: "), "{findings:?}");
        }
        for text in [
            "T accuracy links -- --nocapture",
            "T accuracy five_seconds -- --ignored",
            "C accuracy",
            "tgossip demo --no",
        ] {
            assert_eq!(findings_in("README.md", &format!("a\n`{text}`")).len(), 1, "{text}");
        }
        let session = "```console\n$ tgossip nothing\ntgossip printed this\n```\n";
        assert_eq!(findings_in("README.md", session).len(), 1);
        assert_eq!(findings_in("fuzz/README.md", "`cargo run --example embed`").len(), 1);
    }
}
