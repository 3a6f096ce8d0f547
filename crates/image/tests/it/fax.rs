//! Rows in fax compression that do not fit their width. The pixels are those of Pillow 13.0.0
//! (libtiff 4.7), which leaves out what reaches beyond a row.

use siglip2_image::{ImageLimits, decode, inspect};

const W0: &str = "00110101";
const W4: &str = "1011";
const W2: &str = "0111";
const W1: &str = "000111";
const W7: &str = "1111";
const W10: &str = "00111";
const W16: &str = "101010";
const B1: &str = "010";
const B0: &str = "0000110111";
const B2: &str = "11";
const B3: &str = "10";
const B20: &str = "00001101000";
const B64: &str = "0000001111";
const HORIZONTAL: &str = "001";
const END_OF_LINE: &str = "000000000001";

/// A picture of bits, of which zeros are white, in one strip of this compression.
fn tiff(packed: &[u8], size: (u16, u16), compression: u16) -> Vec<u8> {
    tiff_with(packed, size, compression, 0)
}

/// The same with options of group 3 (`T4Options`): 1 for rows that may be differences.
fn tiff_with(
    packed: &[u8],
    (width, height): (u16, u16),
    compression: u16,
    options: u32,
) -> Vec<u8> {
    let length = u32::try_from(packed.len()).unwrap();
    let short = |tag: u16, value: u16| (tag, 3_u16, u32::from(value));
    let entries = [
        short(256, width),
        short(257, height),
        short(258, 1),
        short(259, compression),
        short(262, 0),
        (273, 4, 8),
        short(277, 1),
        short(278, height),
        (279, 4, length),
        (292, 4, options),
    ];
    let mut file = b"II*\0".to_vec();
    file.extend((8 + length + length % 2).to_le_bytes());
    file.extend(packed);
    file.resize(8 + packed.len().next_multiple_of(2), 0);
    file.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, value) in entries {
        file.extend(tag.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    file.extend([0; 4]);
    file
}

fn bytes(bits: &str) -> Vec<u8> {
    let bits: Vec<u8> = bits.bytes().map(|bit| bit - b'0').collect();
    let byte = |eight: &[u8]| (0..8).fold(0, |byte, at| byte << 1 | eight.get(at).unwrap_or(&0));
    bits.chunks(8).map(byte).collect()
}

/// The rows of a picture that is 16 pixels wide.
fn drawn(file: &[u8]) -> Result<Vec<String>, String> {
    let image = decode(file, &ImageLimits::default()).map_err(|error| error.to_string())?;
    let black = |pixel: &[u8; 3]| if *pixel == [0; 3] { '#' } else { '.' };
    let rows = image.pixels().chunks(16 * 3);
    let row = |row: &[u8]| row.as_chunks::<3>().0.iter().map(black).collect();
    Ok(rows.map(row).collect())
}

#[test]
fn runs_beyond_a_row_are_left_out() {
    const ROWS: u16 = 4;
    let cases = [
        (2, vec![W10, B20], "................"),
        (2, vec![W2, B3, W4, B20], "..###..........."),
        (2, vec![W4, B2, W16], "....##.........."),
        (2, vec![W0, B64, B0], "................"),
        (3, vec![END_OF_LINE, W10, B20], "................"),
        (4, vec![HORIZONTAL, W10, B20], "................"),
        (
            4,
            vec![HORIZONTAL, W4, B2, HORIZONTAL, W16, B2],
            "....##..........",
        ),
    ];
    for (compression, row, expected) in cases {
        let row = row.concat();
        let packed = match compression {
            2 => bytes(&row).repeat(ROWS.into()),
            _ => bytes(&row.repeat(ROWS.into())),
        };
        let file = tiff(&packed, (16, ROWS), compression);
        assert_eq!(drawn(&file).unwrap(), [expected; ROWS as usize], "{row}");
    }
}

/// A pair of them is 18 bits, of which as many as there are in a file would be kept.
#[test]
fn runs_of_no_pixels_do_not_go_on_for_ever() {
    let file = tiff(&bytes(&[W0, B0].concat().repeat(1000)), (8, 1), 2);
    assert!(inspect(&file, &ImageLimits::default()).is_ok());
    let error = decode(&file, &ImageLimits::default()).unwrap_err();
    assert!(
        error.to_string().contains("more runs than pixels"),
        "{error}"
    );
}

/// Group 3 whose end-of-line codes are missing, all of them or some.
#[test]
fn rows_without_end_of_line_codes_are_read() {
    const WHITE: &str = "................";
    const LINE: &str = "....##..........";
    let line = [W4, B2, W10].concat();
    let lines = |times| line.repeat(times);
    let marked = [END_OF_LINE, &line].concat();
    let long = [W4, B2, W16].concat().repeat(4);
    let differences = ["1", &line].concat() + &"0111".repeat(3);
    let only_one = [W2, B3, W1, B1, W1, W7].concat().repeat(3);
    let one_within = [W4, B2, "00000000000"].concat() + &line;
    let cases = [
        (lines(4), 0, [LINE; 4]),
        (long, 0, [LINE; 4]),
        (differences, 1, [LINE; 4]),
        // Less is left than a code.
        (lines(3), 0, [LINE, LINE, LINE, WHITE]),
        (lines(3) + W4, 0, [LINE, LINE, LINE, WHITE]),
        (W4.repeat(2), 0, ["....###.........", WHITE, WHITE, WHITE]),
        (
            one_within.repeat(2),
            0,
            ["..###..###......", "..###...........", LINE, LINE],
        ),
        // The codes at the end are what is looked for.
        (lines(4) + &END_OF_LINE.repeat(6), 0, [WHITE; 4]),
        // From the first code that is missing, the strip is read again.
        (
            marked.clone() + &only_one,
            0,
            [LINE, WHITE, WHITE, "......##........"],
        ),
        (marked.repeat(3), 0, [LINE, LINE, LINE, WHITE]),
    ];
    for (bits, options, expected) in cases {
        let file = tiff_with(&bytes(&bits), (16, 4), 3, options);
        let found = drawn(&file);
        assert_eq!(
            found.as_deref(),
            Ok(&expected.map(str::to_owned)[..]),
            "{bits}"
        );
    }
    let nothing = tiff_with(&[], (16, 4), 3, 0);
    assert!(drawn(&nothing).is_err());
}
