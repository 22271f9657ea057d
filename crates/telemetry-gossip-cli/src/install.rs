//! `tgossip completions` and `tgossip man`: what a package installs beside the programs. Both are
//! made from the command line itself.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap_mangen::Man;

use crate::args::install::{CompletionsArgs, ManArgs};
use crate::error::Error;
use crate::{command_line, text};

/// Prints the script of a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Error> {
    let mut script = Vec::new();
    // It panics if it cannot write, so it does not write to standard output.
    clap_complete::generate(args.shell, &mut command_line(), "tgossip", &mut script);
    let mut out = io::stdout().lock();
    out.write_all(&script)?;
    Ok(out.flush()?)
}

/// Writes the pages of all commands.
pub(crate) fn man(args: &ManArgs) -> Result<(), Error> {
    let folder = &args.folder;
    fs::create_dir_all(folder)
        .map_err(|error| Error::Unwritable { path: folder.clone(), error })?;
    // A page on the command `help` would say nothing.
    let mut tgossip = command_line().disable_help_subcommand(true);
    // This also names the commands `tgossip-key-new` and so on, and their pages are named so.
    tgossip.build();
    let count = write_pages(&tgossip, folder)?;
    let pages = text::counted(count, "page");
    Ok(writeln!(io::stdout(), "{pages} in {}", text::word(&folder.display().to_string()))?)
}

/// Writes the pages of a command and of those below it; returns how many.
fn write_pages(command: &clap::Command, folder: &Path) -> Result<u64, Error> {
    let page = Man::new(command.clone()).source(concat!("tgossip ", env!("CARGO_PKG_VERSION")));
    let path = folder.join(page.get_filename());
    let mut text = Vec::new();
    page.render(&mut text)
        .and_then(|()| fs::write(&path, text))
        .map_err(|error| Error::Unwritable { path, error })?;
    command.get_subcommands().try_fold(1, |count, below| Ok(count + write_pages(below, folder)?))
}
