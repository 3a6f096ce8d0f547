//! The program `build-engine`: see [`siglip2_tensorrt::build_engine`].

use std::process::ExitCode;

fn main() -> ExitCode {
    siglip2_tensorrt::build_engine::main()
}
