//! `tgossip accept-loss`: tells a running agent that the members that do not answer are gone.

use std::io::{self, Write};

use crate::args::AcceptLossArgs;
use crate::control::Loss;
use crate::control::client::{Client, until_interrupted};
use crate::error::Error;
use crate::safe::Safe;
use crate::text;

pub(crate) fn run(args: &AcceptLossArgs) -> Result<(), Error> {
    let loss = until_interrupted(Client::of(&args.ask).accept_loss())?;
    let mut out = Safe::new(io::stdout().lock(), false);
    writeln!(out, "{}", sentence(&loss))?;
    Ok(out.flush()?)
}

fn sentence(loss: &Loss) -> String {
    let node = text::word(&loss.node);
    match loss.silent {
        Some(silent) => format!(
            "{node} accepts the loss of {} that did not answer, and declares members dead again",
            text::counted(silent, "member")
        ),
        None => format!("{node} is not isolated: there is no loss to accept"),
    }
}
