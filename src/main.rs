//! Arguments in, exit code out.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use anteroom::cli;

fn main() -> ExitCode {
    match cli::run(env::args_os(), env::vars_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.exit_code();
            if !failure.is_told() {
                // The alternate form tells the causes too. A closed terminal must not change the exit code.
                let _ = writeln!(io::stderr(), "anteroom: {:#}", anyhow::Error::from(failure));
            }
            ExitCode::from(code)
        }
    }
}
