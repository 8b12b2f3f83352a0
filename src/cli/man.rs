//! `node man`: the man page, from the same definitions as the parser.

use std::process::ExitCode;

use clap::{Args, Command};

use super::exit;
use super::help::{self, ProgramName};

/// Options of `node man`.
#[derive(Args, Debug)]
pub(super) struct ManArgs {
    /// The subcommand whose page is wanted; the program's own if left out
    subcommand: Option<String>,

    /// Name under which the program is called [default: the one it was called by now]
    #[arg(long = "as", value_name = "NAME")]
    name: Option<ProgramName>,
}

/// Prints the page, in roff: `node man | man -l -`.
pub(super) fn run(args: &ManArgs, command: impl Fn(ProgramName) -> Command, called: ProgramName) -> ExitCode {
    let name = args.name.unwrap_or(called);
    match page(args.subcommand.as_deref(), command(name)) {
        Ok(page) => help::print(&page),
        Err(unknown) => {
            eprintln!("error: {unknown}");
            ExitCode::from(exit::USAGE)
        }
    }
}

fn page(subcommand: Option<&str>, mut command: Command) -> Result<Vec<u8>, String> {
    command.build();
    let command = match subcommand {
        None => command,
        Some(wanted) => {
            let known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
            // `build` has named it node-send, as git does.
            command
                .find_subcommand(wanted)
                .cloned()
                .ok_or_else(|| format!("no subcommand `{wanted}`; expected one of {}", known.join(", ")))?
        }
    };
    let mut page = Vec::new();
    // A vector takes every write.
    clap_mangen::Man::new(command).render(&mut page).map_err(|error| error.to_string())?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(subcommand: Option<&str>, name: ProgramName) -> String {
        String::from_utf8(page(subcommand, super::super::command(name)).unwrap()).unwrap()
    }

    #[test]
    fn both_names_have_a_page_that_tells_options_examples_and_exit_codes() {
        for name in [ProgramName::Node, ProgramName::Mutirao] {
            let page = text(None, name);
            assert!(page.contains(&format!(".TH {} 1", name.as_str())), "{page}");
            for part in ["NODE_PORT", "cpu\\-threshold", "Exit codes"] {
                assert!(page.contains(part), "{part}: {page}");
            }
        }
    }

    #[test]
    fn subcommands_have_pages_and_unknown_ones_are_named() {
        assert!(text(Some("send"), ProgramName::Mutirao).contains("mutirao\\-send"));
        let error = page(Some("fly"), super::super::command(ProgramName::Node)).unwrap_err();
        assert!(error.contains("`fly`") && error.contains("status"), "{error}");
    }
}
