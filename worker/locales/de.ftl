notice = Mit STOP abmelden
emoji = [Emoji]
new-message = neue Nachricht
fresh-link = hier ist Ihr Link
waiting = { $sender } +{ $count } in { $thread }
files = { $count ->
    [1] [Foto]
   *[other] [{ $count } Dateien]
}
