//! The state of the view: what is shown, and what a user has chosen. A key changes the state, and may ask for what only
//! the session can do ([`Action`]); drawing changes nothing.

use ratatui::crossterm::event::{
    Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

use super::{
    Data, Screen, Section, Theme, Tone, help,
    keys::{Command, command},
    page::Page,
    screens::SCREENS,
    table::Choice,
};

/// Rows that the wheel scrolls by.
const WHEEL: isize = 3;
/// The longest filter, in characters.
const MAX_FILTER: usize = 60;

/// What the session is asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    #[default]
    None,
    /// End.
    Quit,
    /// Give the terminal back until it is continued.
    Suspend,
    /// Draw everything anew.
    Repaint,
    /// Save a report.
    Save,
    /// Save one with made-up names.
    SaveRedacted,
    /// Stop the replay, or go on.
    Pause,
    /// Replay twice as fast.
    Faster,
    /// Replay half as fast.
    Slower,
    /// Replay ten seconds further.
    Forward,
}

/// How far a replay is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Playback {
    /// How many times as fast as it was recorded.
    pub speed: f64,
    /// It is stopped.
    pub paused: bool,
    /// The recording is at its end.
    pub ended: bool,
}

/// What is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The table.
    Table,
    /// The table, and a filter is being typed.
    Filter,
    /// All about the row of this key.
    Detail(String),
    /// The keys.
    Help,
}

/// The state.
pub struct App {
    pub(super) theme: Theme,
    pub(super) data: Data,
    /// What came while the view is frozen.
    newest: Option<Data>,
    pub(super) frozen: bool,
    pub(super) playback: Option<Playback>,
    screens: &'static [Screen],
    pub(super) screen: usize,
    /// The table of each screen that is shown.
    sections: Vec<usize>,
    /// What is chosen in each table of each screen.
    choices: Vec<Vec<Choice>>,
    pub(super) mode: Mode,
    /// The first line shown of the help or of what is open.
    pub(super) top: usize,
    pub(super) message: Option<(Tone, String)>,
    pub(super) page: Page,
    /// The page is to be made anew, with its rows.
    stale: bool,
    changed: bool,
}

impl App {
    /// Nothing is known yet, and nothing chosen.
    pub fn new(theme: Theme) -> Self {
        let choices: Vec<Vec<Choice>> = SCREENS
            .iter()
            .map(|screen| vec![Choice::default(); screen.sections.len()])
            .collect();
        Self {
            theme,
            data: Data::default(),
            newest: None,
            frozen: false,
            playback: None,
            screens: SCREENS,
            screen: 0,
            sections: vec![0; choices.len()],
            choices,
            mode: Mode::Table,
            top: 0,
            message: None,
            page: Page::default(),
            stale: true,
            changed: true,
        }
    }

    /// Shows this from now on; while the view is frozen, when it goes on.
    pub fn data(&mut self, data: Data) {
        if self.frozen {
            self.newest = Some(data);
        } else {
            self.data = data;
            self.stale = true;
            self.changed = true;
        }
    }

    /// Changes what is shown; while the view is frozen, what will be.
    pub fn amend(&mut self, change: impl FnOnce(&mut Data)) {
        if self.frozen {
            change(self.newest.get_or_insert_with(|| self.data.clone()));
        } else {
            change(&mut self.data);
            self.stale = true;
            self.changed = true;
        }
    }

    /// How far the replay is.
    pub fn playback(&mut self, playback: Playback) {
        if self.playback.as_ref() != Some(&playback) {
            self.playback = Some(playback);
            self.changed = true;
        }
    }

    /// Says something in the last line, until the next key.
    pub fn say(&mut self, tone: Tone, text: String) {
        self.message = Some((tone, text));
        self.changed = true;
    }

    /// Whether there is something to draw.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// It was drawn.
    pub fn drawn(&mut self) {
        self.changed = false;
    }

    /// It is to be drawn, whatever changed.
    pub fn repaint(&mut self) {
        self.changed = true;
    }

    /// Makes what is shown fit a screen of this size; to be called before it is drawn. Rows are made anew only when the
    /// data, the place or the room for them is another.
    pub fn fit(&mut self, width: u16, height: u16) {
        let section = self.section();
        let screen = self.screens.get(self.screen);
        let number = self.section_number();
        let page = &mut self.page;
        if std::mem::take(&mut self.stale) {
            page.forget();
        }
        page.lay_out(width, height, &self.mode);
        page.tabs(self.screens, self.screen, number);
        page.list(screen, section, &self.data, &self.theme);
        if let Some(choice) = chosen(&mut self.choices, self.screen, &self.sections) {
            page.listing.arrange(choice);
            page.divide();
            page.listing.scroll(choice, page.rows.height.into());
        } else {
            page.divide();
        }
        match &self.mode {
            Mode::Detail(key) => page.read(key, section, &self.data, &self.theme),
            Mode::Help => page.lines = help::lines(self.playback.is_some(), width, &self.theme),
            Mode::Table | Mode::Filter => page.lines.clear(),
        }
        let last = page.lines.len().saturating_sub(page.reading.height.into());
        self.top = self.top.min(last);
    }

    /// The table that is shown.
    pub(super) fn section(&self) -> Option<&'static Section> {
        let screen = self.screens.get(self.screen)?;
        screen.sections.get(*self.sections.get(self.screen)?)
    }

    /// Which one that is.
    pub(super) fn section_number(&self) -> usize {
        self.sections.get(self.screen).copied().unwrap_or(0)
    }

    /// What is chosen in the table that is shown.
    pub(super) fn choice(&self) -> Option<&Choice> {
        self.choices.get(self.screen)?.get(self.section_number())
    }

    fn choose(&mut self, change: impl FnOnce(&mut Choice, &Page)) {
        if let Some(choice) = chosen(&mut self.choices, self.screen, &self.sections) {
            change(choice, &self.page);
        }
    }

    /// Takes in a key, the mouse, a pasted text or a new size.
    pub fn event(&mut self, event: &Event) -> Action {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(*key),
            Event::Mouse(mouse) => self.mouse(*mouse),
            Event::Paste(text) if self.mode == Mode::Filter => {
                self.changed = true;
                self.type_filter(text.chars());
                Action::None
            }
            Event::Resize(..) => {
                self.changed = true;
                Action::None
            }
            _ => Action::None,
        }
    }

    /// Takes in a key.
    pub fn key(&mut self, key: KeyEvent) -> Action {
        self.changed = true;
        self.message = None;
        let asked = command(key);
        if self.mode == Mode::Filter && !matches!(asked, Some(Command::Suspend)) {
            return self.filter_key(key, asked);
        }
        asked.map_or(Action::None, |command| self.command(command))
    }

    fn command(&mut self, command: Command) -> Action {
        match command {
            Command::Quit => return Action::Quit,
            Command::Suspend => return Action::Suspend,
            Command::Repaint => return Action::Repaint,
            Command::Save => return Action::Save,
            Command::SaveRedacted => return Action::SaveRedacted,
            Command::Pause if self.playback.is_some() => return Action::Pause,
            Command::Pause => self.freeze(),
            Command::Faster if self.playback.is_some() => return Action::Faster,
            Command::Slower if self.playback.is_some() => return Action::Slower,
            Command::Forward if self.playback.is_some() => return Action::Forward,
            Command::Faster | Command::Slower | Command::Forward => {}
            Command::Help => {
                let open = self.mode == Mode::Help;
                self.enter(if open { Mode::Table } else { Mode::Help });
            }
            Command::Screen(at) => self.show_screen(at),
            Command::NextScreen => self.show_screen((self.screen + 1) % self.screens.len().max(1)),
            Command::PreviousScreen => {
                let last = self.screens.len().saturating_sub(1);
                self.show_screen(self.screen.checked_sub(1).unwrap_or(last));
            }
            Command::NextSection => self.step_section(1),
            Command::PreviousSection => self.step_section(-1),
            Command::Up => self.step(-1),
            Command::Down => self.step(1),
            Command::PageUp => self.step(-self.page_length()),
            Command::PageDown => self.step(self.page_length()),
            Command::First => self.step(isize::MIN),
            Command::Last => self.step(isize::MAX),
            Command::Filter => {
                if self.section().is_some() {
                    self.enter(Mode::Filter);
                }
            }
            Command::Sort => self.choose(|choice, page| choice.sort_next(&page.listing.widths)),
            Command::Reverse => self.choose(|choice, _| choice.reversed = !choice.reversed),
            Command::Open if self.mode == Mode::Table => self.open(),
            Command::Open => self.enter(Mode::Table),
            Command::Back => match self.mode {
                Mode::Table => self.choose(|choice, _| choice.filter.clear()),
                _ => self.enter(Mode::Table),
            },
        }
        Action::None
    }

    fn enter(&mut self, mode: Mode) {
        self.mode = mode;
        self.top = 0;
    }

    fn freeze(&mut self) {
        self.frozen = !self.frozen;
        if let Some(newest) = self.newest.take() {
            self.data(newest);
        }
    }

    fn show_screen(&mut self, at: usize) {
        if at < self.screens.len() {
            self.screen = at;
            self.enter(Mode::Table);
            self.stale = true;
        }
    }

    fn show_section(&mut self, at: usize) {
        if let Some(shown) = self.sections.get_mut(self.screen) {
            *shown = at;
        }
        self.enter(Mode::Table);
        self.stale = true;
    }

    fn step_section(&mut self, by: isize) {
        let sections = self
            .screens
            .get(self.screen)
            .map_or(0, |s| s.sections.len());
        if sections > 1 {
            let at = self.section_number() as isize + by;
            self.show_section(at.rem_euclid(sections as isize) as usize);
        }
    }

    /// Down so many rows, or lines where lines are read.
    fn step(&mut self, by: isize) {
        match self.mode {
            // Beside what is open, single steps go through the table, and pages through what is open.
            Mode::Detail(_) if by.unsigned_abs() == 1 && self.page.is_split() => {
                self.choose(|choice, page| page.listing.step(choice, by));
                self.open();
            }
            Mode::Detail(_) | Mode::Help => self.top = self.top.saturating_add_signed(by),
            Mode::Table | Mode::Filter => {
                self.choose(|choice, page| page.listing.step(choice, by));
            }
        }
    }

    fn page_length(&self) -> isize {
        let lines = match self.mode {
            Mode::Detail(_) | Mode::Help => self.page.reading.height,
            Mode::Table | Mode::Filter => self.page.rows.height,
        };
        (lines as isize - 1).max(1)
    }

    /// Opens the chosen row, where there is more to say about it.
    fn open(&mut self) {
        let choice = self.choice();
        let key = choice.and_then(|choice| self.page.listing.chosen(choice));
        if let (Some(key), Some(section)) = (key, self.section())
            && !(section.detail)(&self.data, &key, self.page.width, &self.theme).is_empty()
        {
            self.enter(Mode::Detail(key));
        }
    }

    fn filter_key(&mut self, key: KeyEvent, asked: Option<Command>) -> Action {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Action::Quit,
            KeyCode::Char('u') if control => self.choose(|choice, _| choice.filter.clear()),
            KeyCode::Char('h' | 'w') if control => self.shorten_filter(),
            KeyCode::Char(c) if !control => self.type_filter(std::iter::once(c)),
            KeyCode::Backspace => {
                if self.choice().is_none_or(|choice| choice.filter.is_empty()) {
                    self.enter(Mode::Table);
                }
                self.shorten_filter();
            }
            KeyCode::Enter => self.enter(Mode::Table),
            KeyCode::Esc => {
                self.choose(|choice, _| choice.filter.clear());
                self.enter(Mode::Table);
            }
            KeyCode::Up | KeyCode::Down | KeyCode::PageUp | KeyCode::PageDown => {
                return asked.map_or(Action::None, |command| self.command(command));
            }
            _ => {}
        }
        Action::None
    }

    fn shorten_filter(&mut self) {
        self.choose(|choice, _| {
            choice.filter.pop();
        });
    }

    fn type_filter(&mut self, text: impl Iterator<Item = char>) {
        self.choose(|choice, _| {
            let room = MAX_FILTER.saturating_sub(choice.filter.chars().count());
            let typed = text.filter(|c| !c.is_control());
            choice.filter.extend(typed.take(room));
        });
    }

    /// Takes in the mouse.
    pub fn mouse(&mut self, mouse: MouseEvent) -> Action {
        match mouse.kind {
            MouseEventKind::ScrollDown => self.step(WHEEL),
            MouseEventKind::ScrollUp => self.step(-WHEEL),
            MouseEventKind::Down(MouseButton::Left) => self.click(mouse.column, mouse.row),
            _ => return Action::None,
        }
        self.changed = true;
        Action::None
    }

    fn click(&mut self, x: u16, y: u16) {
        self.message = None;
        if let Some(at) = self.page.tab_at(x, y) {
            return self.show_screen(at);
        }
        if let Some(at) = self.page.section_at(x, y) {
            return self.show_section(at);
        }
        if let Some(column) = self.page.heading_at(x, y) {
            return self.choose(|choice, _| choice.sort_by(column));
        }
        let Some(line) = self.page.row_at(x, y) else {
            return;
        };
        let mut again = false;
        self.choose(|choice, page| {
            again = page.listing.click(choice, line, page.rows.height.into());
        });
        match self.mode {
            // What is open beside the table is always about the row that is chosen.
            Mode::Detail(_) => self.open(),
            _ if again => self.open(),
            _ => {}
        }
    }
}

fn chosen<'a>(
    choices: &'a mut [Vec<Choice>],
    screen: usize,
    sections: &[usize],
) -> Option<&'a mut Choice> {
    choices.get_mut(screen)?.get_mut(*sections.get(screen)?)
}
