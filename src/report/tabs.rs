//! Text in columns: elastic tab stops, as kubectl's tables and descriptions are aligned.
//!
//! A cell ends with a tab; text after the last tab of a line is no cell. A column is a run of neighbouring lines
//! with a cell there; its width is that of its widest cell.

/// Aligns `text`. Each column is its widest cell and `padding`, but at least `minimum` wide.
pub fn align(text: &str, minimum: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len() - 1]).collect();
    let columns = lines.iter().map(|cells| cells.len() - 1).max().unwrap_or(0);
    for column in 0..columns {
        let mut start = 0;
        while start < lines.len() {
            let has = |line: usize| lines[line].len() - 1 > column;
            if !has(start) {
                start += 1;
                continue;
            }
            let end = (start..lines.len()).find(|l| !has(*l)).unwrap_or(lines.len());
            let widest = lines[start..end].iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
            for row in &mut widths[start..end] {
                row[column] = (widest + padding).max(minimum);
            }
            start = end;
        }
    }
    let mut out = String::new();
    for (cells, widths) in lines.iter().zip(&widths) {
        for (cell, width) in cells.iter().zip(widths) {
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
        }
        out.push_str(cells.last().copied().unwrap_or_default());
        out.push('\n');
    }
    out
}

/// A table of rows, the header first: three spaces between columns, no column under six wide.
pub fn table(rows: &[Vec<String>]) -> String {
    let text: String = rows.iter().map(|cells| clean(&cells.join("\t")) + "\n").collect();
    align(&text, 6, 3)
}

/// A cell must not break the table.
fn clean(line: &str) -> String {
    line.chars().map(|c| if c == '\n' || c == '\r' { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["NAME".into(), "AGE".into()], vec!["website".into(), "5s".into()]];
        assert_eq!(table(&rows), "NAME      AGE\nwebsite   5s\n");
        let narrow = [vec!["A".into(), "B".into()], vec!["x".into(), "y".into()]];
        assert_eq!(table(&narrow), "A     B\nx     y\n");
    }

    #[test]
    fn a_line_without_a_cell_ends_a_column() {
        let text = "Name:\tx\nService Account:\ty\nIPs:\n  IP:\tz\n";
        assert_eq!(align(text, 0, 2), "Name:             x\nService Account:  y\nIPs:\n  IP:  z\n");
    }

    #[test]
    fn wide_characters_and_empty_text_do_not_panic() {
        assert_eq!(align("", 0, 2), "");
        assert_eq!(align("\t\n", 0, 2), "  \n");
        assert_eq!(table(&[vec!["a\nb".into()]]), "a b\n");
    }
}
