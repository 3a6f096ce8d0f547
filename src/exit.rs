//! How the process ends: its exit codes, and its end where threads are inside calls to a device.

/// The settings, the model's files or the inputs are wrong.
pub const UNUSABLE: u8 = 2;

/// The engine failed, was rebuilt, and failed again, or its GPU is lost or hangs: the
/// supervisor must restart the process.
pub const ENGINE_DEAD: u8 = 3;

/// Ends the process without waiting for its threads, which may be inside calls to a device.
pub fn end(code: u8) -> ! {
    #[cfg(feature = "tensorrt")]
    crate::tensorrt::run::end_process(code);
    #[cfg(not(feature = "tensorrt"))]
    std::process::exit(code.into())
}
