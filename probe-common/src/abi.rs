//! The one macro that every shared struct goes through.

/// Declares structs that cross the kernel border: `repr(C)`, `Copy`, no padding (asserted at compile
/// time by adding up the sizes of the fields), and `aya::Pod` on the user side.
#[macro_export]
macro_rules! shared {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident { $( $(#[$fmeta:meta])* pub $field:ident : $ty:ty, )* }
    )*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name { $( $(#[$fmeta])* pub $field: $ty, )* }

        const _: () = assert!(
            core::mem::size_of::<$name>() == 0 $( + core::mem::size_of::<$ty>() )*,
            concat!(stringify!($name), " has padding"),
        );

        impl $name {
            /// All bytes zero.
            pub const ZERO: Self = {
                // SAFETY: the struct holds integers and arrays of them only, for which all-zero is valid.
                unsafe { core::mem::zeroed() }
            };

            /// Name, offset and size in bytes of each field, for the blessed layout (abi.txt).
            pub const LAYOUT: &[(&str, usize, usize)] =
                &[$((stringify!($field), core::mem::offset_of!($name, $field), core::mem::size_of::<$ty>()),)*];
        }

        #[cfg(feature = "user")]
        // SAFETY: `repr(C)`, no padding, every bit pattern is valid.
        unsafe impl aya::Pod for $name {}
    )*};
}
