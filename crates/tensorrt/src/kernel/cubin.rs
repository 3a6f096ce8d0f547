//! Checks that a cubin, an ELF file, is complete. The driver gets a pointer to it without a
//! length, so a truncated file must not reach the driver.

/// Rejects a file that is not 64-bit ELF, or names parts beyond its end.
pub(super) fn check(cubin: &[u8]) -> Result<(), &'static str> {
    if !cubin.starts_with(b"\x7fELF\x02\x01") {
        return Err("it is not a 64-bit ELF file");
    }
    let header = Fields(cubin);
    let lacking = "it is shorter than its header says";
    // Elf64_Ehdr: the tables of program headers and of section headers.
    let tables = [(0x20, 0x36, 0x38), (0x28, 0x3a, 0x3c)];
    for (index, (offset, entry_bytes, entries)) in tables.into_iter().enumerate() {
        let offset = header.long(offset).ok_or(lacking)?;
        let entry_bytes = header.short(entry_bytes).ok_or(lacking)?;
        let entries = header.short(entries).ok_or(lacking)?;
        for entry in 0..entries {
            let at = offset
                .checked_add(entry * entry_bytes)
                .filter(|&at| {
                    at.checked_add(entry_bytes)
                        .is_some_and(|end| end <= cubin.len())
                })
                .ok_or(lacking)?;
            let entry = Fields(&cubin[at..at + entry_bytes]);
            // Elf64_Phdr: p_offset, p_filesz. Elf64_Shdr: sh_offset, sh_size, and sh_type,
            // which is SHT_NOBITS (8) for a section that takes no space in the file, or
            // NVIDIA's SHT_CUDA_SHARED_RESERVED and the like.
            let (start, bytes) = if index == 0 {
                (0x08, 0x20)
            } else {
                (0x18, 0x20)
            };
            let (start, bytes) = (
                entry.long(start).ok_or(lacking)?,
                entry.long(bytes).ok_or(lacking)?,
            );
            let in_file = index == 0 || entry.0.get(4..8) != Some(&[8, 0, 0, 0]);
            if in_file && start.checked_add(bytes).is_none_or(|end| end > cubin.len()) {
                return Err(lacking);
            }
        }
    }
    Ok(())
}

/// Little-endian numbers at offsets.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn long(&self, at: usize) -> Option<usize> {
        let bytes = self.0.get(at..)?.first_chunk::<8>()?;
        usize::try_from(u64::from_le_bytes(*bytes)).ok()
    }

    fn short(&self, at: usize) -> Option<usize> {
        let bytes = self.0.get(at..)?.first_chunk::<2>()?;
        Some(usize::from(u16::from_le_bytes(*bytes)))
    }
}
