//! `node set` and `node get`: settings that the masters of a group agree on.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::ask::{Node, Talk, ask, strange};
use super::conclude::{Conclusion, Form};
use super::exit;
use super::pretty::printable;
use super::work::ToArgs;
use crate::wire::{Body, Json, Setting, SettingsAnswer, SettingsQuery};

/// What agreeing may take beyond the patience.
const AGREEMENT: Duration = Duration::from_secs(10);

/// Options of `node set`.
#[derive(Args, Debug)]
pub(super) struct SetArgs {
    /// Name of the setting; `node get` lists them
    #[arg(value_name = "NAME")]
    name: String,

    /// Its value for every master of the group; `default` leaves it to each master's own options again
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    value: String,

    #[command(flatten)]
    to: ToArgs,

    /// Print the node's answer as it came
    #[arg(long)]
    json: bool,
}

/// Options of `node get`.
#[derive(Args, Debug)]
pub(super) struct GetArgs {
    /// Name of one setting [default: all]
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// Take the asked node's own copy, which may be old, instead of asking the majority
    #[arg(long)]
    local: bool,

    #[command(flatten)]
    to: ToArgs,

    /// Print the node's answer as it came
    #[arg(long)]
    json: bool,
}

/// Agrees on a setting.
pub(super) fn set(args: &SetArgs) -> ExitCode {
    let query = SettingsQuery { name: Some(args.name.clone()), value: Some(value(&args.value)), local: false };
    let mut node = Node::new(args.to.to.clone(), args.to.patience.0);
    run(&mut node, query, Form::here(args.json)).print()
}

/// Shows what is agreed on.
pub(super) fn get(args: &GetArgs) -> ExitCode {
    let query = SettingsQuery { name: args.name.clone(), value: None, local: args.local };
    let mut node = Node::new(args.to.to.clone(), args.to.patience.0);
    run(&mut node, query, Form::here(args.json)).print()
}

/// A value as people type it: JSON, else a word.
fn value(text: &str) -> Json {
    match text {
        "default" => Json::null(),
        _ => Json::new(text).unwrap_or_else(|| Json::string(text)),
    }
}

fn run(talk: &mut dyn Talk, query: SettingsQuery, form: Form) -> Conclusion {
    let reply = match ask(talk, Body::Settings(Box::new(query)), AGREEMENT) {
        Ok(reply) => reply,
        Err(error) => return Conclusion::error(error),
    };
    match &reply.message.body {
        Body::SettingsAnswer(_) if form.json => Conclusion::line(form.value(&reply.line), exit::OK),
        Body::SettingsAnswer(answer) => Conclusion::line(listing(answer), exit::OK),
        _ => Conclusion::error(strange(talk.address(), &reply)),
    }
}

fn listing(answer: &SettingsAnswer) -> String {
    let width = answer.settings.iter().map(|setting| setting.name.len()).max().unwrap_or(0);
    let line = |setting: &Setting| {
        let value = match &setting.value {
            Some(value) if *value != Json::null() => printable(value.as_str()),
            _ => "each master's own option".to_owned(),
        };
        format!("{:<width$}  {value}", printable(&setting.name))
    };
    let mut lines: Vec<String> = answer.settings.iter().map(line).collect();
    if answer.local {
        lines.push(format!("(this node's own copy, as of index {})", answer.index));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_numbers_words_become_strings_and_default_is_none() {
        assert_eq!(value("200").as_str(), "200");
        assert_eq!(value("fast").as_str(), "\"fast\"");
        assert_eq!(value("default"), Json::null());
    }

    #[test]
    fn the_listing_tells_what_is_agreed_on_and_what_is_not() {
        let setting = |name: &str, value: Option<&str>| Setting {
            name: name.to_owned(),
            value: value.and_then(Json::new),
            index: 3,
        };
        let settings = vec![setting("capacity", Some("200")), setting("hold", None)];
        let text = listing(&SettingsAnswer { index: 9, local: true, settings });
        let expected = "capacity  200\nhold      each master's own option\n(this node's own copy, as of index 9)";
        assert_eq!(text, expected);
    }
}
