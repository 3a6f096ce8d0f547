//! AMX's tile instructions, emulated where the processor has none: there they raise
//! SIGILL, and the handler does what they would have done and goes on behind them.
//!
//! What is known of the instructions: Intel's Software Developer's Manual, volume 2.
//!
//! ```text
//! C4 [RXB map] [W vvvv L pp] opcode modrm [sib] [disp]      map 2 (0F 38), W0, L0
//! pp none 49 /0 mem   LDTILECFG      F2 49 11:rrr:000  TILEZERO
//! F2 4B /r sib        TILELOADD      F3 4B /r sib      TILESTORED
//! F3 5C 11:rrr:bbb    TDPBF16PS            66 5E 11:rrr:bbb    TDPBUSD
//! ```

use std::cell::UnsafeCell;
use std::sync::OnceLock;

use crate::kernel::Amx;

/// Sixteen rows of 64 bytes.
type TileData = [[u32; 16]; 16];

struct State {
    configured: bool,
    tiles: [TileData; 8],
}

thread_local! {
    static STATE: UnsafeCell<State> = const {
        UnsafeCell::new(State { configured: false, tiles: [[[0; 16]; 16]; 8] })
    };
}

/// The kernel on tiles: the processor's, or emulated ones.
pub(crate) fn kernel() -> Option<Amx> {
    static HANDLER: OnceLock<()> = OnceLock::new();
    if let Some(kernel) = Amx::detect() {
        return Some(kernel);
    }
    let kernel = Amx::emulated()?;
    HANDLER.get_or_init(|| {
        // SAFETY: `handle` is a handler of the three-argument kind, and touches only
        // what the instruction that raised the signal would have touched, and this
        // thread's tiles.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            assert_eq!(
                libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()),
                0
            );
        }
    });
    Some(kernel)
}

extern "C" fn handle(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the third argument of such a handler is a ucontext_t.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let length = STATE.with(|state| {
        // SAFETY: nobody else has this thread's tiles: they are only used here, and no
        // tile instruction is executed here.
        unsafe { execute(registers, &mut *state.get()) }
    });
    match length {
        Some(length) => registers[libc::REG_RIP as usize] += length,
        // SAFETY: the process is to end.
        None => unsafe { libc::abort() },
    }
}

/// Where the numbered general registers are in a context.
const REGISTERS: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// Does the instruction at RIP, and gives its length; `None` if it is none of them.
///
/// # Safety
///
/// The registers are those of an instruction that may touch the memory that it names.
unsafe fn execute(registers: &[libc::greg_t; 23], state: &mut State) -> Option<libc::greg_t> {
    let at = registers[libc::REG_RIP as usize] as *const u8;
    // SAFETY: no instruction of these is shorter than five bytes, and the code after it
    // is mapped.
    let byte = |i: usize| unsafe { *at.add(i) };
    if byte(0) != 0xc4 || byte(1) & 0x1f != 2 || byte(2) & 0x84 != 0 {
        return None;
    }
    let prefix = byte(2) & 3;
    let third = (!byte(2) >> 3 & 15) as usize;
    let (opcode, modrm) = (byte(3), byte(4));
    let (mode, reg, low) = (modrm >> 6, (modrm >> 3 & 7) as usize, (modrm & 7) as usize);
    if mode == 3 {
        match (prefix, opcode) {
            (3, 0x49) if low == 0 => {
                assert!(state.configured);
                state.tiles[reg] = [[0; 16]; 16];
            }
            (0, 0x49) => state.configured = false,
            (2, 0x5c) | (1, 0x5e) => {
                assert!(state.configured);
                let (a, b) = (state.tiles[low], state.tiles[third]);
                let product: Product = if prefix == 1 { bytes } else { bf16 };
                multiply(&mut state.tiles[reg], &a, &b, product);
            }
            _ => return None,
        }
        return Some(5);
    }
    // Memory: base, index as it is in the sib byte, displacement.
    let register = |number: usize| registers[REGISTERS[number] as usize];
    let extend = |bit: u8| if byte(1) >> bit & 1 == 0 { 8 } else { 0 };
    let mut length = 5;
    let (base, index) = if low == 4 {
        length += 1;
        let sib = byte(5);
        let index = (sib >> 3 & 7) as usize + extend(6);
        let scaled = if index == 4 {
            0
        } else {
            register(index) << (sib >> 6)
        };
        ((sib & 7) as usize + extend(5), scaled)
    } else {
        (low + extend(5), 0)
    };
    let displacement = match mode {
        0 if base & 7 == 5 => return None,
        0 => 0,
        1 => {
            length += 1;
            libc::greg_t::from(byte(length - 1) as i8)
        }
        _ => {
            length += 4;
            let bytes = std::array::from_fn(|i| byte(length - 4 + i));
            libc::greg_t::from(i32::from_le_bytes(bytes))
        }
    };
    let start = register(base) + displacement;
    match (prefix, opcode) {
        (0, 0x49) if reg == 0 => {
            // SAFETY: the instruction reads 64 bytes here.
            let configuration = unsafe { *((start + index) as *const [u8; 64]) };
            assert_eq!(configuration[0], 1, "the palette");
            assert!((0..8).all(|i| configuration[16 + 2 * i] == 64 && configuration[48 + i] == 16));
            state.configured = true;
            state.tiles = [[[0; 16]; 16]; 8];
        }
        (3, 0x4b) | (2, 0x4b) => {
            assert!(state.configured);
            for (row, words) in state.tiles[reg].iter_mut().enumerate() {
                let at = (start + index * row as libc::greg_t) as *mut [u32; 16];
                // SAFETY: the instruction reads or writes 64 bytes here.
                unsafe {
                    if prefix == 3 {
                        *words = at.read_unaligned()
                    } else {
                        at.write_unaligned(*words)
                    }
                }
            }
        }
        _ => return None,
    }
    Some(length as libc::greg_t)
}

/// A word of the left side times a word of the right, added to a sum.
type Product = fn(u32, u32, u32) -> u32;

/// Along the depth, words of the left side's rows by words of the right side's columns.
fn multiply(sums: &mut TileData, a: &TileData, b: &TileData, product: Product) {
    for (sums, a) in sums.iter_mut().zip(a) {
        for (&a, b) in a.iter().zip(b) {
            for (sum, &b) in sums.iter_mut().zip(b) {
                *sum = product(a, b, *sum);
            }
        }
    }
}

/// TDPBF16PS: pairs of BF16.
fn bf16(a: u32, b: u32, sum: u32) -> u32 {
    let low = |word: u32| f32::from_bits(word << 16);
    let high = |word: u32| f32::from_bits(word & 0xffff_0000);
    let first = low(a) * low(b) + f32::from_bits(sum);
    (high(a) * high(b) + first).to_bits()
}

/// TDPBUSD: four unsigned bytes by four signed ones.
fn bytes(a: u32, b: u32, sum: u32) -> u32 {
    let pairs = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
    pairs.fold(sum, |sum, (a, b)| {
        let product = i32::from(a) * i32::from(b.cast_signed());
        sum.wrapping_add(product.cast_unsigned())
    })
}
