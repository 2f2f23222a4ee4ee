# No ç, ê, î, ô or û: the GSM 7-bit alphabet has none of them.
notice = STOP pour se désabonner
emoji = [emoji]
new-message = nouveau message
fresh-link = voici votre lien
waiting = { $sender } +{ $count } dans { $thread }
files = { $count ->
    [1] [photo]
   *[other] [{ $count } fichiers]
}
