//! The content of the app state of an account that has been in use: its settings, its address book, and what it did to
//! chats. Plain data; `sync` encrypts it.
//!
//! Source: the indexes and collections that `whatsapp-rust` 0.7.0 writes and reads (`features/chat_actions.rs`,
//! `client/app_state.rs`), and whatsmeow's `appstate/keys.go`.

use buffa::MessageField;
use waproto::whatsapp::SyncActionValue;
use waproto::whatsapp::sync_action_value::{
    ContactAction, LabelEditAction, LocaleSetting, MuteAction, PinAction, PushNameSetting,
    UnarchiveChatsSetting,
};

use super::clock::unix_millis;

/// All collections.
pub(crate) const COLLECTIONS: [&str; 5] =
    [PUSH_NAME_COLLECTION, ADDRESS_BOOK, "regular_low", "regular_high", "regular"];
/// Where the push name is kept.
/// Source: the client asks for it among the critical collections and waits for `setting_pushName` in it.
pub(super) const PUSH_NAME_COLLECTION: &str = "critical_block";
const ADDRESS_BOOK: &str = "critical_unblock_low";
/// WhatsApp pins three chats at most.
const PINNED: usize = 3;
/// One of this many chats is muted.
const MUTED: usize = 10;

/// One entry, before it is encrypted.
pub(super) struct Entry {
    /// The index: a JSON array, as in WhatsApp.
    pub(super) index: String,
    pub(super) value: SyncActionValue,
    /// The version of this kind of entry, not of the collection.
    pub(super) version: i32,
}

/// Every collection of an account with this many contacts. The same contacts always have the same indexes.
pub(super) fn of(contacts: usize, push_name: &str) -> Vec<(&'static str, Vec<Entry>)> {
    let chats = || (0..contacts).map(jid);
    let pinned = chats().take(PINNED).map(|jid| {
        let pin = PinAction { pinned: Some(true) };
        entry(&["pin_v1", &jid], 5, |value| value.pin_action = MessageField::some(pin))
    });
    let muted = chats().step_by(MUTED).map(|jid| {
        let mute = MuteAction { muted: Some(true), mute_end_timestamp: Some(-1), ..MuteAction::default() };
        entry(&["mute", &jid], 2, |value| value.mute_action = MessageField::some(mute))
    });
    let label =
        LabelEditAction { name: Some("Family".to_owned()), color: Some(1), ..LabelEditAction::default() };
    let label = entry(&["label_edit", "1"], 3, |value| value.label_edit_action = MessageField::some(label));
    vec![
        (PUSH_NAME_COLLECTION, vec![self::push_name(push_name), locale()]),
        (ADDRESS_BOOK, chats().enumerate().map(|(number, jid)| contact(number, &jid)).collect()),
        ("regular_low", std::iter::once(unarchive()).chain(pinned).collect()),
        ("regular_high", muted.collect()),
        ("regular", vec![label]),
    ]
}

/// The account's own name, which a fresh device learns from here.
pub(super) fn push_name(name: &str) -> Entry {
    let setting = PushNameSetting { name: Some(name.to_owned()) };
    entry(&["setting_pushName"], 1, |value| value.push_name_setting = MessageField::some(setting))
}

fn locale() -> Entry {
    let setting = LocaleSetting { locale: Some("en_GB".to_owned()) };
    entry(&["setting_locale"], 3, |value| value.locale_setting = MessageField::some(setting))
}

fn unarchive() -> Entry {
    let setting = UnarchiveChatsSetting { unarchive_chats: Some(false) };
    entry(&["setting_unarchiveChats"], 4, |value| value.unarchive_chats_setting = MessageField::some(setting))
}

fn contact(number: usize, jid: &str) -> Entry {
    let action = ContactAction {
        full_name: Some(format!("Contact Number {number}")),
        first_name: Some(format!("Contact {number}")),
        save_on_primary_addressbook: Some(true),
        ..ContactAction::default()
    };
    entry(&["contact", jid], 2, |value| value.contact_action = MessageField::some(action))
}

fn entry(index: &[&str], version: i32, set: impl FnOnce(&mut SyncActionValue)) -> Entry {
    let mut value = SyncActionValue { timestamp: Some(unix_millis()), ..SyncActionValue::default() };
    set(&mut value);
    Entry { index: serde_json::Value::from(index).to_string(), value, version }
}

/// `+49 1600 …`, which no German network gives out either.
fn jid(number: usize) -> String {
    format!("491600{number:08}@s.whatsapp.net")
}
