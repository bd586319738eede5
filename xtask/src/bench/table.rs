//! Tables for the terminal, and the middle of several figures.

use crate::step::say;

/// Rows under heads; the first column to the left, the others to the right.
pub(super) struct Table(Vec<Vec<String>>);

impl Table {
    pub(super) fn new(heads: &[&str]) -> Self {
        Self(vec![heads.iter().map(|&head| head.to_owned()).collect()])
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    pub(super) fn print(&self) -> anyhow::Result<()> {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let wide = |column: usize| {
            self.0.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| wide(column).unwrap_or(0)).collect();
        for row in &self.0 {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            say(&cells.collect::<Vec<_>>().join("  "))?;
        }
        Ok(())
    }
}

/// Tells what the next table is about.
pub(super) fn announce(title: &str) -> anyhow::Result<()> {
    say(&format!("\n{title}"))
}

/// The middle one; of two the upper.
pub(super) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
