//! The program `load-test`: see [`siglip2_load_test`].

use std::process::ExitCode;

fn main() -> ExitCode {
    siglip2_load_test::main()
}
