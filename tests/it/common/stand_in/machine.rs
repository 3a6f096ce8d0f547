//! What the GPU is like that a program finds: the settings of the stand-in.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Control, Trace, libraries};

/// A machine with one GeForce RTX 5090, on which nothing takes time and nothing fails,
/// unless told otherwise. It is for one program: the trace and the socket are that one's.
pub struct Machine {
    variables: BTreeMap<&'static str, OsString>,
    files: TempDir,
}

impl Machine {
    pub fn new() -> Self {
        let files = TempDir::new().expect("a directory");
        let variables = BTreeMap::from([
            ("LD_LIBRARY_PATH", libraries().directory().into()),
            ("STAND_IN_TRACE", files.path().join("trace").into()),
            ("STAND_IN_CONTROL", files.path().join("control").into()),
        ]);
        Self { variables, files }
    }

    /// The GPUs: `NVIDIA L4:8.9:23034MiB`, commas between several, or `none`.
    pub fn gpus(self, gpus: &str) -> Self {
        self.set("STAND_IN_GPUS", gpus)
    }

    /// The version of CUDA that the driver has, as 13000 for 13.0.
    pub fn driver_version(self, version: u32) -> Self {
        self.set("STAND_IN_DRIVER_VERSION", &version.to_string())
    }

    /// The version that TensorRT says it is.
    pub fn tensorrt_version(self, version: &str) -> Self {
        self.set("STAND_IN_TENSORRT_VERSION", version)
    }

    /// How long works take: tests/stand_in/cuda/delays.hpp.
    pub fn delay(self, delays: &str) -> Self {
        self.set("STAND_IN_DELAY", delays)
    }

    /// What fails, and when: tests/stand_in/cuda/faults.hpp.
    pub fn fault(self, faults: &str) -> Self {
        self.set("STAND_IN_FAULT", faults)
    }

    /// What nvJPEG's stand-in decodes with, and what it does wrong: tests/stand_in/nvjpeg/library.cpp.
    pub fn nvjpeg(self, settings: &[(&'static str, &str)]) -> Self {
        let set = |machine: Self, (name, value): &(&'static str, &str)| machine.set(name, value);
        settings.iter().fold(self, set)
    }

    /// A race is in the trace and is no error of the device, so that the wrong answer comes.
    pub fn report_races(self) -> Self {
        self.set("STAND_IN_RACE", "report")
    }

    /// Without trace and socket, for several programs one after the other.
    pub fn untraced(mut self) -> Self {
        self.variables.remove("STAND_IN_TRACE");
        self.variables.remove("STAND_IN_CONTROL");
        self
    }

    /// Any of the stand-in's settings.
    pub fn set(mut self, name: &'static str, value: &str) -> Self {
        self.variables.insert(name, value.into());
        self
    }

    /// Lets a program run on this machine.
    pub fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.envs(&self.variables)
    }

    /// The stand-in for TensorRT's runtime, for a flag that wants its path.
    pub fn tensorrt(&self) -> PathBuf {
        libraries().tensorrt()
    }

    /// Commands to the program while it runs. It must have opened the driver: a service
    /// that says that it is ready has.
    pub fn control(&self) -> Control {
        Control::connect(&self.files.path().join("control"))
    }

    /// What the program did, once it has ended by itself.
    pub fn trace(&self) -> Trace {
        Trace::read(&self.trace_path())
    }

    /// Where the trace will be.
    pub fn trace_path(&self) -> PathBuf {
        Path::new(&self.variables["STAND_IN_TRACE"]).to_owned()
    }
}
