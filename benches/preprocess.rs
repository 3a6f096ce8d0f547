//! How fast this machine decodes and resizes images, one core.
fn main() {}
