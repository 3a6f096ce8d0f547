//! The kernel as a program of the host: compiled with the C++ compiler, asked over pipes.

use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use siglip2_embeddings::tensorrt::kernel::{Element, Plan};

/// The program, compiled once for all tests; with the sanitizers, if the compiler has them.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, program) = PROGRAM.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("resize");
        let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
        let compile = |options: &[&str]| {
            Command::new(&compiler)
                .args(["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror"])
                .args(options)
                .args(["-DRESIZE_HOST", "-x", "c++"])
                .arg(root.join("crates/tensorrt/src/kernel/resize.cu"))
                .arg(root.join("tests/it/resize_kernel/main.cpp"))
                .arg("-o")
                .arg(&program)
                .output()
                .expect("a C++ compiler (c++, or what CXX names)")
        };
        let sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
        if !compile(&sanitize).status.success() {
            println!("no sanitizers: accesses beyond a buffer are not seen");
            let plain = compile(&[]);
            let said = String::from_utf8_lossy(&plain.stderr);
            assert!(plain.status.success(), "{said}");
        }
        (folder, program)
    });
    program
}

/// The program while it runs.
pub struct Host {
    child: Child,
    input: Option<BufWriter<ChildStdin>>,
    output: BufReader<ChildStdout>,
}

impl Host {
    pub fn start() -> Self {
        let mut child = Command::new(program())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().map(BufWriter::new);
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            input,
            output,
        }
    }

    /// Launches what the plan says; the bytes of the output.
    pub fn run(&mut self, plan: &Plan, source: &[u8], table: &[u8]) -> Vec<u8> {
        let launches: Vec<_> = plan
            .launches()
            .map(|(entry, grid)| (entry.name().to_bytes(), grid))
            .collect();
        let out_bytes = plan.out_elements * plan.element.bytes();
        let status = self.ask(&launches, source, table, plan.scratch_bytes, out_bytes);
        assert_eq!(status, 0);
        let mut out = vec![0; out_bytes];
        self.output.read_exact(&mut out).unwrap();
        out
    }

    /// The status of a launch of something that is not there.
    pub fn run_unknown(&mut self, entry: &[u8]) -> u64 {
        self.ask(&[(entry, [1, 1, 1])], &[], &[], 0, 0)
    }

    fn ask(
        &mut self,
        launches: &[(&[u8], [u32; 3])],
        source: &[u8],
        table: &[u8],
        scratch_bytes: usize,
        out_bytes: usize,
    ) -> u64 {
        let input = self.input.as_mut().unwrap();
        let number = |value: u64| value.to_le_bytes();
        input.write_all(&number(launches.len() as u64)).unwrap();
        for (name, grid) in launches {
            input.write_all(&number(name.len() as u64)).unwrap();
            input.write_all(name).unwrap();
            input.write_all(&number(grid[0].into())).unwrap();
            input.write_all(&number(grid[1].into())).unwrap();
        }
        for bytes in [source.len(), table.len(), scratch_bytes, out_bytes] {
            input.write_all(&number(bytes as u64)).unwrap();
        }
        input.write_all(source).unwrap();
        input.write_all(table).unwrap();
        input.flush().unwrap();
        let mut status = [0; 8];
        self.output
            .read_exact(&mut status)
            .expect("an answer; what went wrong is above");
        u64::from_le_bytes(status)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It ends with its input.
        self.input = None;
        let _ = self.child.wait();
    }
}

/// The elements of an output, as bits.
pub fn elements(element: Element, out: &[u8]) -> Vec<u32> {
    match element {
        Element::Fp16 => out
            .as_chunks::<2>()
            .0
            .iter()
            .map(|bytes| u16::from_le_bytes(*bytes).into())
            .collect(),
        Element::Fp32 => out
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| u32::from_le_bytes(*bytes))
            .collect(),
    }
}
