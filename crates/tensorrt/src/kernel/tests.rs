//! Compiles the kernel with the real compiler. NVRTC needs no GPU, but must be installed:
//! NVRTC_LIB_DIR names its directory, as for `build-engine`; for example
//! `.../site-packages/nvidia/cu13/lib` of `pip install nvidia-cuda-nvrtc`.

use std::path::Path;

use super::{Element, Entry, KernelError, ResizeKernel, SOURCE, cubin};
use crate::build::nvrtc::{Compiler, NvrtcError};
use crate::libraries::Search;

/// The compiler, or a line that says why a test is skipped.
fn compiler(test: &str) -> Option<Compiler> {
    let Some(directory) = std::env::var_os("NVRTC_LIB_DIR") else {
        println!("SKIPPED {test}: NVRTC_LIB_DIR names no directory");
        return None;
    };
    let search = Search::new(None, Some(directory.into()));
    let library = search.nvrtc().expect("NVRTC in NVRTC_LIB_DIR");
    Some(Compiler::open(Some(&library)).unwrap())
}

#[test]
fn it_compiles_for_every_architecture_without_warnings_or_spills() {
    let Some(compiler) = compiler("resize.cu through NVRTC") else {
        return;
    };
    println!("NVRTC {}", compiler.version());
    for architecture in [75_u8, 80, 86, 89, 90, 100, 120] {
        let name = format!("sm_{architecture}");
        let compiled = compiler.compile(SOURCE, "resize.cu", &name).unwrap();
        println!("{name}, {} bytes\n{}", compiled.cubin.len(), compiled.log);
        let log = compiled.log;
        assert!(!log.contains("warning"), "{log}");
        assert_eq!(
            log.matches("0 bytes spill stores, 0 bytes spill loads")
                .count(),
            3
        );
        let cubin = compiled.cubin;
        assert_eq!(cubin::check(&cubin), Ok(()));
        // ELF: e_machine EM_CUDA; the architecture is in the second byte of e_flags (in
        // the first, in files of CUDA 12, whose EI_ABIVERSION is 7).
        assert_eq!(cubin[18..20], [190, 0]);
        assert_eq!(cubin[if cubin[8] < 8 { 48 } else { 49 }], architecture);
        for entry in [
            Entry::Width,
            Entry::Normalize(Element::Fp16),
            Entry::Normalize(Element::Fp32),
        ] {
            let symbol = entry.name().to_bytes_with_nul();
            assert!(cubin.windows(symbol.len()).any(|name| name == symbol));
        }
        // A truncated file does not reach the driver.
        for length in (0..cubin.len()).step_by(997) {
            assert!(cubin::check(&cubin[..length]).is_err(), "{length}");
        }
        assert!(cubin::check(&cubin[..cubin.len() - 1]).is_err());
    }
}

#[test]
fn what_does_not_compile_is_said_with_the_compilers_words() {
    let Some(compiler) = compiler("errors of NVRTC") else {
        return;
    };
    let error = |source, architecture| {
        let error = compiler
            .compile(source, "wrong.cu", architecture)
            .unwrap_err();
        assert!(matches!(error, NvrtcError::Compile { .. }));
        error.to_string()
    };
    let text = error("extern \"C\" __global__ void one() { nowhere(); }", "sm_90");
    assert!(text.starts_with("NVRTC "), "{text}");
    assert!(
        text.contains("wrong.cu") && text.contains("sm_90"),
        "{text}"
    );
    assert!(text.contains("nowhere"), "{text}");
    let text = error("", "sm_1");
    assert!(text.contains("sm_1"), "{text}");
    assert_eq!(
        compiler.compile("\0", "wrong.cu", "sm_90"),
        Err(NvrtcError::Text("source"))
    );
}

#[test]
fn a_library_that_is_not_there_is_named() {
    let error = Compiler::open(Some(Path::new("/nowhere/libnvrtc.so.13"))).err();
    let text = error.expect("no such file").to_string();
    assert!(text.contains("/nowhere/libnvrtc.so.13"), "{text}");
    assert!(text.contains("pip install"), "{text}");
}

#[test]
fn a_damaged_kernel_is_refused_before_the_driver_sees_it() {
    for damaged in [&b""[..], b"\x7fELF", b"\x7fELF\x02\x01\x01", &[0; 4096]] {
        let refused = ResizeKernel::load(damaged, Element::Fp16).err();
        assert!(matches!(refused, Some(KernelError::Damaged(_))));
    }
}
