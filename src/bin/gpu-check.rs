//! The program `gpu-check`: see [`siglip2_tensorrt::gpu_check`].

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    siglip2_tensorrt::gpu_check::main()
}
