//! The seeds of an agent, from the command line and from a file. They stay texts here; the driver
//! resolves names.

use std::path::Path;

use crate::args::{AgentArgs, host_port};
use crate::error::Error;

/// The largest seed file in bytes. People write these files; a larger one is a mistake.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Returns the seeds that the arguments name, each once, in order.
pub(crate) fn of(args: &AgentArgs) -> Result<Vec<String>, Error> {
    let mut seeds = args.join.clone();
    if let Some(path) = &args.seed_file {
        let unread = |error| Error::File { path: path.clone(), error };
        if std::fs::metadata(path).map_err(unread)?.len() > MAX_FILE_BYTES {
            return Err(Error::Usage(format!(
                "{} has more than {MAX_FILE_BYTES} bytes, too many for a seed file: name a file \
                 with one HOST:PORT per line",
                path.display()
            )));
        }
        let listed = parsed(path, &std::fs::read_to_string(path).map_err(unread)?)?;
        if listed.is_empty() {
            return Err(Error::Usage(format!(
                "{} names no seed: write one HOST:PORT per line, or leave --seed-file out for the \
                 first node of a cluster",
                path.display()
            )));
        }
        seeds.extend(listed);
    }
    let mut each_once = Vec::new();
    for seed in seeds {
        if !each_once.contains(&seed) {
            each_once.push(seed);
        }
    }
    Ok(each_once)
}

fn parsed(path: &Path, text: &str) -> Result<Vec<String>, Error> {
    text.lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            host_port(line).map_err(|rule| {
                Error::Usage(format!("{}:{number}: `{line}` is not a seed: {rule}", path.display()))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_file_has_one_seed_per_line() {
        let text = "# the old registry's hosts\n\n  seed-1:7101\n[::1]:7102\n10.0.0.3:7103\n";
        assert_eq!(
            parsed(Path::new("seeds"), text).unwrap(),
            ["seed-1:7101", "[::1]:7102", "10.0.0.3:7103"]
        );
    }

    #[test]
    fn the_error_names_a_wrong_line() {
        let error = parsed(Path::new("seeds"), "seed-1:7101\nseed-2\n").unwrap_err().to_string();
        assert!(
            error.starts_with("seeds:2: `seed-2` is not a seed: type a host and a port"),
            "{error}"
        );
    }
}
