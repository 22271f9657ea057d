//! `tgossip members`: asks a running agent for its members, and prints a table or JSON.

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use telemetry_gossip_core::Status;

use crate::args::{AskArgs, MembersArgs};
use crate::control::client::{Client, until_interrupted};
use crate::control::registry::RegistryView;
use crate::control::{Alone, Content, IsolationView, MemberView, View};
use crate::error::Error;
use crate::safe::Safe;
use crate::text;

/// The longest telemetry of one member in the table, in characters; JSON has all of it.
const MAX_TELEMETRY_CHARS: usize = 60;

pub(crate) fn run(args: &MembersArgs) -> Result<(), Error> {
    let mut view = until_interrupted(Client::of(&args.ask).view())?;
    let wanted: Vec<Status> = args.status.iter().map(|&status| status.into()).collect();
    view.members.retain(|member| wanted.is_empty() || wanted.contains(&member.status));
    if let Some(isolation) = &mut view.isolation {
        isolation.command = Some(accept_loss(&args.ask));
    }
    let mut out = Safe::new(io::stdout().lock(), args.json);
    if args.json {
        serde_json::to_writer_pretty(&mut out, &view).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        if let Some(isolation) = &view.isolation {
            writeln!(out, "{}\n", banner(&view.node, isolation))?;
        }
        if let Some(alone) = view.health.alone {
            writeln!(out, "{}\n", alone_banner(&view.node, alone))?;
        }
        if let Some(registry) = view.registry.as_ref().filter(|it| it.state != "current") {
            writeln!(out, "{}\n", registry_banner(&view.node, registry))?;
        }
        writeln!(out, "{}", members_table(&view.node, &view.members).trim_fmt())?;
        if args.stats {
            writeln!(out, "\n{}\n{}", health_line(&view), stats_table(&view)?.trim_fmt())?;
        }
    }
    out.flush()?;
    Ok(())
}

/// The command that accepts the loss at the agent that was asked.
fn accept_loss(ask: &AskArgs) -> String {
    let token = ask.control_token_file.as_ref();
    let token = token.map(|file| format!(" --control-token-file {}", file.display()));
    format!("tgossip accept-loss --via {}{}", ask.via, token.unwrap_or_default())
}

/// Says that the agent is isolated, what follows for the table below, and what to type.
fn banner(node: &str, isolation: &IsolationView) -> String {
    let IsolationView { since_s, lost, of, silent, ref command } = *isolation;
    let command = command.as_deref().unwrap_or("tgossip accept-loss");
    format!(
        "{} IS ISOLATED since {}: {lost} of {of} members did not answer it, and {silent} have been \
         silent since.\n\
         It may be on the smaller side of a partition, so it declares no member dead. A member \
         that is\n`alive?` below may be gone. If the silent members are gone for good, type:\n  \
         {command}",
        text::word(node),
        text::age(seconds(since_s)),
    )
}

/// Says in a few words why an agent is alone.
const fn alone_reason(alone: Alone) -> &'static str {
    match alone {
        Alone::NoSeedAnswered => "no seed has answered so far",
        Alone::NoSeeds => "it has no seeds, and no other node has joined through it so far",
        Alone::OthersGone => "all other members have left or are dead",
        Alone::Unknown => "it knows no other live member",
    }
}

/// Says that the agent is alone, why, and what to look at.
fn alone_banner(node: &str, alone: Alone) -> String {
    let advice = match alone {
        Alone::NoSeedAnswered => {
            "\nThe usual reasons are a wrong address, a firewall, and that the seeds drop what it \
             sends, as\nit has another key or label, or a key where they have none. The output of \
             the seeds says so."
        }
        _ => "",
    };
    format!("{} is alone: {}.{advice}", text::word(node), alone_reason(alone))
}

/// Says that the agent does not go by what the registry has, why, and whether it is ready.
fn registry_banner(node: &str, registry: &RegistryView) -> String {
    let ready = if registry.ready { "" } else { " is not ready" };
    let version = registry.version.map(|version| format!("; version {version} is in force"));
    format!(
        "{}{ready}: registry {}{}.",
        text::word(node),
        registry.text,
        version.unwrap_or_default()
    )
}

pub(crate) fn members_table(node: &str, members: &[MemberView]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "ID",
        "STATUS",
        "SINCE",
        "GENERATION",
        "ADDRESS",
        "LAST HEARD",
        "TELEMETRY",
    ]);
    for member in members {
        let mark = if member.id == node { " (asked)" } else { "" };
        table.add_row([
            format!("{}{mark}", text::word(&member.id)),
            format!("{}{}", member.status, if member.unconfirmed { "?" } else { "" }),
            member.status_since_s.map_or_else(|| "unknown".to_owned(), ago),
            member.generation.to_string(),
            member
                .address
                .as_deref()
                .map_or_else(|| "unknown".to_owned(), |address| text::printable(address, 127)),
            if member.id == node {
                "itself".to_owned()
            } else {
                member.last_heard_s.map_or_else(|| "never".to_owned(), ago)
            },
            telemetry(member),
        ]);
    }
    if let Some(column) = table.column_mut(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// How long ago something was that was so many seconds ago.
fn ago(secs: f64) -> String {
    format!("{} ago", text::age(seconds(secs)))
}

fn telemetry(member: &MemberView) -> String {
    let entries: Vec<String> = member
        .telemetry
        .iter()
        .map(|(key, value)| match &value.content {
            Content::Value(value) => format!("{}={}", text::word(key), text::word(value)),
            Content::ValueHex(hex) => format!("{}=0x{hex}", text::word(key)),
        })
        .collect();
    text::cut(&entries.join(" "), MAX_TELEMETRY_CHARS)
}

fn health_line(view: &View) -> String {
    let health = &view.health;
    let isolated = match health.alone {
        _ if health.isolated => "it is isolated and declares no member dead".to_owned(),
        Some(alone) => format!("it is alone: {}", alone_reason(alone)),
        None => "it is not isolated".to_owned(),
    };
    let active = if health.active { "" } else { "; it is no longer a member itself" };
    format!(
        "{} knows {} alive, {} suspected, {} dead, {} left; {isolated}{active}; local health {} of \
         8 (0 is best)",
        text::word(&view.node),
        health.alive,
        health.suspected,
        health.dead,
        health.left,
        health.local_health
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
    let clients = serde_json::to_value(view.control).map_err(io::Error::from)?;
    for (name, value) in clients.as_object().into_iter().flatten() {
        table.add_row([format!("control.{name}"), value.to_string()]);
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
    use telemetry_gossip_registry::follow::{Reason, State, Status};

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
                "41s ago",
                "load=0.42",
                "blob=0xff00",
            ]) {
                assert!(lines[1].contains(word), "{word} is missing in:\n{text}");
            }
        }
    }

    #[test]
    fn an_isolated_agent_says_so_and_marks_the_members_that_may_be_gone() {
        let mut view = view();
        view.members[0].unconfirmed = true;
        let table = members_table("edge-0", &view.members).to_string();
        assert!(table.contains(" alive? "), "{table}");

        let ask = AskArgs {
            via: "/run/a.sock".parse().unwrap(),
            control_token_file: None,
            timeout: Duration::from_secs(3),
        };
        let command = Some(accept_loss(&ask));
        let isolation = IsolationView { since_s: 30.0, lost: 3, of: 5, silent: 2, command };
        let said = banner("edge-0", &isolation);
        for words in [
            "edge-0 IS ISOLATED since 30s: 3 of 5 members did not answer it, and 2 have been \
             silent",
            "\n  tgossip accept-loss --via /run/a.sock",
        ] {
            assert!(said.contains(words), "{said}");
        }
        assert!(said.lines().all(|line| line.chars().count() <= 100), "{said}");
    }

    #[test]
    fn an_agent_that_knows_no_other_member_is_alone() {
        let said = |alone| {
            let mut view = view();
            view.health.alone = alone;
            (health_line(&view), alone.map(|alone| alone_banner("edge-1", alone)))
        };
        let (health, _) = said(None);
        assert!(health.contains("it is not isolated"), "{health}");
        for (alone, words) in [
            (Alone::NoSeedAnswered, "is alone: no seed has answered so far"),
            (Alone::NoSeeds, "is alone: it has no seeds"),
            (Alone::OthersGone, "is alone: all other members have left"),
            (Alone::Unknown, "is alone: it knows no other live member"),
        ] {
            let (health, banner) = said(Some(alone));
            let banner = banner.unwrap();
            assert!(health.contains(words) && !health.contains("not isolated"), "{health}");
            assert!(banner.contains(words), "{banner}");
            assert!(banner.lines().all(|line| line.chars().count() <= 100), "{banner}");
        }
    }

    #[test]
    fn an_agent_that_does_not_go_by_its_registry_says_why_and_whether_it_is_ready() {
        let of = |state, store| {
            let mut status = Status::default();
            (status.state, status.store) = (state, store);
            RegistryView::of_status("file:x", &status)
        };
        let waits = of(State::NotYetMember { version: 3 }, Some(3));
        let said = registry_banner("edge-1", &waits);
        assert!(said.starts_with("edge-1 is not ready: registry not yet a member: "), "{said}");
        let held = of(State::Held(Reason::Missing), None);
        let said =
            registry_banner("edge-1", &RegistryView { ready: true, version: Some(2), ..held });
        assert!(said.starts_with("edge-1: registry held: the store has no registry"), "{said}");
        assert!(said.ends_with("; version 2 is in force."), "{said}");
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
