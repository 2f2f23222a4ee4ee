notice = Отписка: STOP
emoji = [эмодзи]
new-message = новое сообщение
fresh-link = вот ваша ссылка
waiting = { $sender } +{ $count } в { $thread }
files = { $count ->
    [1] [фото]
    [one] [{ $count } файл]
    [few] [{ $count } файла]
   *[other] [{ $count } файлов]
}
