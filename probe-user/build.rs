//! Chooses the kernel object that gets embedded: the one that `STALLSCOPE_BPF_OBJECT` names (a freshly
//! built one, from `cargo xtask`), else the committed one, so that stable Rust alone builds this crate.
//! `attach` includes it by `env!("STALLSCOPE_BPF_OBJECT_PATH")`.

use std::{env, path::PathBuf, process};

fn main() {
    println!("cargo::rerun-if-env-changed=STALLSCOPE_BPF_OBJECT");
    let committed = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default())
        .join("bpf/stallscope.bpf.o");
    let chosen = env::var_os("STALLSCOPE_BPF_OBJECT").filter(|path| !path.is_empty());
    let object = chosen.map_or(committed, PathBuf::from);
    // Absolute, because the compiler would look beside the file that includes it.
    match object.canonicalize() {
        Ok(object) => {
            println!("cargo::rerun-if-changed={}", object.display());
            println!(
                "cargo::rustc-env=STALLSCOPE_BPF_OBJECT_PATH={}",
                object.display()
            );
        }
        Err(error) => {
            println!(
                "cargo::error=no kernel object at {}: {error}; run `cargo xtask bless`, or unset STALLSCOPE_BPF_OBJECT",
                object.display()
            );
            process::exit(1);
        }
    }
}
