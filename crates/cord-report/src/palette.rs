//! The colours of teachers, the same in every figure and page.

/// Okabe and Ito's colours, which people with any kind of colour vision tell apart. More teachers use them again.
pub(crate) const PALETTE: [(u8, u8, u8); 6] =
    [(0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (86, 180, 233)];

/// The palette as CSS has it.
pub(crate) fn hexadecimal() -> Vec<String> {
    PALETTE.iter().map(|(red, green, blue)| format!("#{red:02x}{green:02x}{blue:02x}")).collect()
}
