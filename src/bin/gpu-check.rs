//! The program `gpu-check`: see [`siglip2_tensorrt::gpu_check`].

use std::process::ExitCode;

fn main() -> ExitCode {
    siglip2_tensorrt::gpu_check::main()
}
