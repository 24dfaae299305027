//! Tables for people: columns as wide as their widest cell.

/// The rows as lines, two spaces between columns.
pub(super) fn lines<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let widths: [usize; N] = std::array::from_fn(|column| {
        let width = |row: &[String; N]| row[column].chars().count();
        rows.iter().map(width).max().unwrap_or(0)
    });
    rows.iter()
        .map(|row| {
            let cells: Vec<String> = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect()
}

/// A text from elsewhere that is to be one cell: what speaks to a terminal is written as an escape.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|char| {
            let escaped = char.is_control().then(|| char.escape_unicode());
            let plain = escaped.is_none().then_some(char);
            plain.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}
