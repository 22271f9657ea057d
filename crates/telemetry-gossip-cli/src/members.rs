//! `tgossip members`: asks a running agent for its members, and prints a table or JSON.

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use crate::args::MembersArgs;
use crate::control::{Content, MemberView, View, client};
use crate::error::Error;
use crate::text;

/// The longest telemetry of one member in the table, in characters; JSON has all of it.
const MAX_TELEMETRY_CHARS: usize = 60;

pub(crate) fn run(args: &MembersArgs) -> Result<(), Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Setup)?;
    let view = runtime.block_on(async {
        tokio::select! {
            view = client::view(&args.via) => view,
            _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
        }
    })?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &view).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{}", members_table(&view.node, &view.members).trim_fmt())?;
        if args.stats {
            writeln!(out, "\n{}\n{}", health_line(&view), stats_table(&view)?.trim_fmt())?;
        }
    }
    out.flush()?;
    Ok(())
}

pub(crate) fn members_table(node: &str, members: &[MemberView]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "ID",
        "STATUS",
        "GENERATION",
        "ADDRESS",
        "LAST HEARD",
        "TELEMETRY",
    ]);
    for member in members {
        let mark = if member.id == node { " (asked)" } else { "" };
        table.add_row([
            format!("{}{mark}", text::printable(&member.id, 127)),
            member.status.to_string(),
            member.generation.to_string(),
            member
                .address
                .as_deref()
                .map_or_else(|| "unknown".to_owned(), |address| text::printable(address, 127)),
            if member.id == node {
                "itself".to_owned()
            } else {
                format!("{} ago", text::age(seconds(member.last_heard_s)))
            },
            telemetry(member),
        ]);
    }
    if let Some(column) = table.column_mut(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn telemetry(member: &MemberView) -> String {
    let entries: Vec<String> = member
        .telemetry
        .iter()
        .map(|(key, value)| match &value.content {
            Content::Value(text) => format!("{key}={text}"),
            Content::ValueHex(hex) => format!("{key}=0x{hex}"),
        })
        .collect();
    text::printable(&entries.join(" "), MAX_TELEMETRY_CHARS)
}

fn health_line(view: &View) -> String {
    let health = &view.health;
    let isolated = if health.isolated {
        "it is isolated and declares no member dead"
    } else {
        "it is not isolated"
    };
    let active = if health.active { "" } else { "; it is no longer a member itself" };
    format!(
        "{} knows {} alive, {} suspected, {} dead or left; {isolated}{active}; local health {} of \
         8 (0 is best)",
        view.node, health.alive, health.suspected, health.dead, health.local_health
    )
}

/// Lists the counters under the same names as in JSON.
fn stats_table(view: &View) -> Result<Table, Error> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["COUNTER", "VALUE"]);
    let counters = [
        serde_json::to_value(view.stats),
        serde_json::to_value(view.socket),
        serde_json::to_value(view.record),
    ];
    let counters = counters.into_iter().collect::<Result<Vec<_>, _>>().map_err(io::Error::from)?;
    for (name, value) in counters.iter().filter_map(|counters| counters.as_object()).flatten() {
        table.add_row([name.clone(), value.to_string()]);
    }
    let seal = serde_json::to_value(view.seal).map_err(io::Error::from)?;
    for (name, value) in seal.as_object().into_iter().flatten() {
        table.add_row([format!("seal.{name}"), value.to_string()]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(table)
}

/// Converts seconds from another process, which can be any number.
fn seconds(secs: f64) -> Duration {
    Duration::try_from_secs_f64(secs).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::view;

    #[test]
    fn the_table_has_one_line_per_member() {
        let own = view();
        let of_another = View { node: "edge-0".into(), ..view() };
        for (view, words) in
            [(own, ["edge-1 (asked)", "itself"]), (of_another, ["edge-1", "1.5s ago"])]
        {
            let text = members_table(&view.node, &view.members).to_string();
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 2, "{text}");
            for word in words.into_iter().chain([
                "alive",
                "2",
                "127.0.0.1:7101",
                "load=0.42",
                "blob=0xff00",
            ]) {
                assert!(lines[1].contains(word), "{word} is missing in:\n{text}");
            }
        }
    }

    #[test]
    fn the_table_lists_all_counters() {
        let table = stats_table(&view()).unwrap().to_string();
        assert!(
            table.contains("datagrams_malformed") && table.contains("datagrams_sent_dropped"),
            "{table}"
        );
        assert!(table.contains("seal.replayed"), "{table}");
    }
}
