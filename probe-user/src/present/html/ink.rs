//! Colours of the document. The charts are drawn in those for a light page; the style sheet changes them for a dark one.

use plotters::style::RGBColor;
use probe_common::part;

/// A colour by what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ink {
    /// Class of what is filled with it in HTML.
    pub class: &'static str,
    hex: &'static str,
}

impl Ink {
    /// As the charts draw it.
    pub const fn rgb(self) -> RGBColor {
        let hex = self.hex.as_bytes();
        RGBColor(
            byte(hex[0], hex[1]),
            byte(hex[2], hex[3]),
            byte(hex[4], hex[5]),
        )
    }
}

const fn byte(high: u8, low: u8) -> u8 {
    digit(high) * 16 + digit(low)
}

const fn digit(c: u8) -> u8 {
    match c {
        b'0'..=b'9' => c - b'0',
        b'A'..=b'F' => c - b'A' + 10,
        _ => panic!("a colour is written in upper-case hexadecimal digits"),
    }
}

macro_rules! inks {
    ($( $name:ident = $class:literal, $light:literal, $dark:literal; )*) => {
        $(
            pub(super) const $name: Ink = Ink { class: $class, hex: $light };
            // Its digits are checked where it is compiled.
            const _: RGBColor = $name.rgb();
        )*
        /// Rules that give every ink its colour, on light pages and on paper, and on dark ones.
        pub(super) const CSS: &str = concat!(
            $( ".", $class, "{background:#", $light, "}\n", )*
            "@media screen and (prefers-color-scheme:dark){\n",
            $(
                ".", $class, ",[fill=\"#", $light, "\"]{background:#", $dark, ";fill:#", $dark, "}\n",
                "[stroke=\"#", $light, "\"]{stroke:#", $dark, "}\n",
            )*
            "}\n",
        );
        #[cfg(test)]
        const ALL: &[Ink] = &[$( $name ),*];
    };
}

inks! {
    NETWORK = "k-net", "C2410C", "FB8C5A";
    ON_CPU = "k-cpu", "2F855A", "5CC98F";
    RUN_QUEUE = "k-run", "D69E2E", "F2CC60";
    DISK = "k-dsk", "6B46C1", "B094F5";
    LOCK = "k-lck", "B83280", "F07FBF";
    CLIENT = "k-cli", "0987A0", "4FC3DC";
    LOCAL = "k-loc", "7B5B3A", "C9A27A";
    SLEEP = "k-slp", "64748B", "A3B0C2";
    UNEXPLAINED = "k-unk", "1F2328", "F0F3F6";
    IDLE = "k-idl", "CBD5E0", "3D4753";
    FIRST = "k-one", "1D5FA8", "6CB0F5";
    SECOND = "k-two", "C2500C", "FB9C5A";
    THIRD = "k-thr", "2F8A5A", "5CCE8F";
    FOURTH = "k-fou", "6B46C6", "B094FA";
    FIFTH = "k-fiv", "B83286", "F07FC6";
    LIMIT = "k-lim", "B42318", "FF7B72";
    LABEL = "k-lab", "57606A", "9DA7B3";
    GRID = "k-grd", "D8DEE4", "30363D";
    BACK = "k-bck", "EEF1F4", "262C34";
}

/// Of lines in one chart, in their order.
pub(super) const SERIES: [Ink; 5] = [FIRST, SECOND, THIRD, FOURTH, FIFTH];

/// Of a part of time.
pub(super) fn of_part(part: usize) -> Ink {
    match part {
        part::ON_CPU => ON_CPU,
        part::RUN_QUEUE => RUN_QUEUE,
        part::NETWORK => NETWORK,
        part::CLIENT => CLIENT,
        part::DISK => DISK,
        part::LOCK => LOCK,
        part::SLEEP => SLEEP,
        part::LOCAL => LOCAL,
        part::IDLE => IDLE,
        _ => UNEXPLAINED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ink_has_a_colour_of_its_own() {
        for (n, ink) in ALL.iter().enumerate() {
            let same = |other: &Ink| other.class == ink.class || other.hex == ink.hex;
            assert!(!ALL[n + 1..].iter().any(same), "{ink:?}");
        }
        assert_eq!(NETWORK.rgb(), RGBColor(0xc2, 0x41, 0x0c));
    }
}
